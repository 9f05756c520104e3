"""When the environment is built, mended or left alone."""

import socket
import subprocess
import sys
import venv
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import ROOT, load_tool
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


@pytest.fixture
def tool(tmp_path, monkeypatch):
    """The script, for a folder whose building is only recorded."""
    module = load_tool('tools/setup_env.py')
    module.folder = tmp_path / 'env'
    module.env, module.fork = (
        module.Environment(module.folder, stack, **module.STACKS[stack])
        for stack in ('openmmlab', 'fork')
    )
    module.builds = []
    module.working = True

    def build(env):
        module.builds.append(env.folder.exists())
        (env.folder / 'bin').mkdir(parents=True, exist_ok=True)
        if module.builds == [True] and module.stays_broken:
            return
        module.working = True

    module.stays_broken = False
    module.real_build = module.build
    module.has_gpu = lambda: False
    monkeypatch.setattr(module, 'build', build)
    monkeypatch.setattr(module, 'works', lambda *_, **__: module.working)
    monkeypatch.setattr(sys, 'argv', ['setup_env.py', str(module.folder)])
    return module


def test_builds_once(tool):
    assert tool.main() == 0
    assert tool.main() == 0
    assert tool.builds == [False]


def test_builds_again_when_a_requirement_changes(tool, tmp_path, monkeypatch):
    assert tool.main() == 0
    (tmp_path / 'runtime.txt').write_text('torch==9')
    monkeypatch.setattr(tool, 'REQUIREMENTS', tmp_path)
    assert tool.main() == 0
    assert tool.builds == [False, True]


def test_an_interrupted_build_is_completed(tool):
    (tool.folder / 'bin').mkdir(parents=True)  # but no stamp
    assert tool.main() == 0
    assert tool.builds == [True]


def test_an_environment_that_broke_is_mended(tool):
    assert tool.main() == 0
    tool.working = False
    assert tool.main() == 0
    assert tool.builds == [False, True]


def test_what_cannot_be_mended_is_built_anew(tool):
    (tool.folder / 'bin').mkdir(parents=True)
    tool.working, tool.stays_broken = False, True
    assert tool.main() == 0
    assert tool.builds == [True, False]


def test_what_pip_cannot_complete_is_built_anew(tool, monkeypatch):
    tool.folder.mkdir()
    (tool.folder / 'pyvenv.cfg').touch()

    def build(env):
        tool.builds.append(env.folder.exists())
        if env.folder.exists():
            raise tool.SetupError('this failed: pip install')
        env.folder.mkdir()

    monkeypatch.setattr(tool, 'build', build)
    assert tool.main() == 0
    assert tool.builds == [True, False]


def test_a_folder_of_something_else_is_left_alone(tool, capsys):
    tool.folder.mkdir()
    (tool.folder / 'thesis.tex').touch()
    assert tool.main() == 1
    assert 'is no virtual environment' in capsys.readouterr().err
    assert tool.builds == []
    assert (tool.folder / 'thesis.tex').exists()


def test_a_gpu_that_appears_is_noticed(tool, monkeypatch):
    assert tool.main() == 0
    monkeypatch.setattr(tool, 'has_gpu', lambda: True)
    assert tool.main() == 0
    assert tool.builds == [False, True]


def test_a_failure_is_said_and_leaves_no_stamp(tool, monkeypatch, capsys):
    def fail(env):
        env.folder.mkdir(exist_ok=True)
        raise tool.SetupError('no compiler')

    monkeypatch.setattr(tool, 'build', fail)
    assert tool.main() == 1
    assert 'setup_env: no compiler' in capsys.readouterr().err
    assert list(tool.folder.iterdir()) == []


def test_the_package_must_be_installed_not_only_lie_here(
    monkeypatch, tmp_path
):
    tool = load_tool('tools/setup_env.py')
    monkeypatch.setattr(tool, 'CHECK', 'import mmdet_klrpn')
    monkeypatch.chdir(ROOT)
    venv.create(tmp_path / 'env', symlinks=True)
    env = tool.Environment(tmp_path / 'env', 'fork', **tool.STACKS['fork'])
    assert not tool.works(env)


def test_a_python_that_cannot_make_environments_is_named(tool, monkeypatch):
    monkeypatch.setattr(tool, 'succeeds', lambda *_, **__: False)
    with pytest.raises(tool.SetupError, match='python3-venv'):
        tool.real_build(tool.env)


@pytest.mark.parametrize('stack', ['openmmlab', 'fork'])
def test_mmcv_without_operators_is_an_error(tool, monkeypatch, stack):
    env = tool.fork if stack == 'fork' else tool.env
    name = dict(openmmlab='mmcv', fork='onedl-mmcv')[stack]
    monkeypatch.setattr(tool, 'answers', lambda url: False)
    monkeypatch.setattr(tool, 'pip_install', lambda env, *args: None)
    commands = []

    def succeeds(command, **_):
        commands.append([str(word) for word in command])
        # pip says that it installed mmcv, but the operators never import.
        return 'install' in command

    monkeypatch.setattr(tool, 'succeeds', succeeds)
    with pytest.raises(tool.SetupError, match=r'mmcv\._ext'):
        tool.install_mmcv(env)
    (built,) = [words for words in commands if f'--no-binary={name}' in words]
    assert '--no-build-isolation' in built
    assert name in built
    assert str(env.lock) in built


def compile_mmcv(tool, monkeypatch, **variables):
    """Environment variables of the command that compiles mmcv."""
    for name in ('CFLAGS', 'MAX_JOBS'):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    calls = []
    monkeypatch.setattr(tool, 'pip_install', lambda env, *args: None)
    monkeypatch.setattr(
        tool,
        'succeeds',
        lambda command, env=None, **_: calls.append(env),
    )
    tool.compile_mmcv(tool.env, 'mmcv')
    return calls[-1]


def test_mmcv_is_compiled_without_debug_symbols(tool, monkeypatch):
    assert compile_mmcv(tool, monkeypatch)['CFLAGS'] == '-g0'
    found = compile_mmcv(tool, monkeypatch, CFLAGS='-O1 -g')
    assert found['CFLAGS'] == '-O1 -g -g0'
    # As the compiler is called: the flags of Python itself come before them.
    code = (
        'from distutils.unixccompiler import UnixCCompiler as C; c = C();'
        'from distutils.sysconfig import customize_compiler as f; f(c);'
        'print(*c.compiler_so)'
    )
    words = subprocess.run(
        [sys.executable, '-c', f'import setuptools; {code}'],
        env=found,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout.split()
    symbols = [word for word in words if word.startswith('-g')]
    assert symbols[-1] == '-g0'


@pytest.mark.parametrize(
    ('cores', 'gigabytes', 'jobs', 'minutes'),
    [(2, 64, 2, 8), (64, 7, 3, 5), (1, 1, 1, 15), (64, 512, 64, 1)],
)
def test_mmcv_is_compiled_on_every_core_that_memory_allows(
    tool, monkeypatch, capsys, cores, gigabytes, jobs, minutes
):
    sizes = dict(SC_PHYS_PAGES=gigabytes * 2**18, SC_PAGE_SIZE=2**12)
    monkeypatch.setattr(tool.os, 'sysconf', sizes.get)
    monkeypatch.setattr(
        tool.os, 'sched_getaffinity', lambda process: set(range(cores))
    )
    found = compile_mmcv(tool, monkeypatch)
    assert found['MAX_JOBS'] == str(jobs)
    assert f'about {minutes} minutes, {jobs} files' in capsys.readouterr().out
    # torch would not find the ninja of an environment that is not activated.
    assert found['PATH'].split(':')[0] == str(tool.folder / 'bin')
    assert tool.os.environ.keys() <= found.keys()


@pytest.mark.parametrize(
    ('given', 'used'), [('3', '3'), ('0', '0'), ('all', '2')]
)
def test_jobs_that_are_asked_for_are_kept(tool, monkeypatch, given, used):
    monkeypatch.setattr(tool.os, 'sched_getaffinity', lambda process: {0, 1})
    found = compile_mmcv(tool, monkeypatch, MAX_JOBS=given)
    assert found['MAX_JOBS'] == used


def test_each_step_says_how_long_it_takes_as_it_begins(
    tool, monkeypatch, capsys
):
    monkeypatch.setattr(tool, 'answers', lambda url: False)
    monkeypatch.setattr(tool, 'pip_install', lambda env, *args: None)
    # mmcv is there once it has been compiled.
    monkeypatch.setattr(
        tool, 'succeeds', lambda command, quiet=True, **_: not quiet
    )
    monkeypatch.setattr(tool, 'START', tool.time.monotonic() - 754)
    tool.real_build(tool.env)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6
    for line in lines:
        assert line.startswith('setup_env [12:34]: ')
        assert 'minute' in line or line.endswith(': seconds')


def test_torch_comes_from_the_cpu_index_only_without_a_gpu(tool, monkeypatch):
    installed = []
    monkeypatch.setattr(
        tool, 'pip_install', lambda env, *args: installed.append(args)
    )
    monkeypatch.setattr(tool, 'answers', lambda url: True)
    monkeypatch.setattr(tool, 'succeeds', lambda command: True)
    for gpu in (False, True):
        monkeypatch.setattr(tool, 'has_gpu', lambda gpu=gpu: gpu)
        tool.install_torch(tool.env)
        assert (tool.TORCH_CPU_INDEX in installed[-1]) == (not gpu)
        assert 'torch' in installed[-1]


def test_an_address_that_never_answers_is_given_up(tool, monkeypatch):
    monkeypatch.setattr(tool, 'PROBE_SECONDS', 1)
    with socket.create_server(('127.0.0.1', 0)) as silent:
        assert not tool.answers(f'http://127.0.0.1:{silent.getsockname()[1]}')


def test_an_address_that_refuses_is_given_up(tool):
    with socket.create_server(('127.0.0.1', 0)) as server:
        port = server.getsockname()[1]
    assert not tool.answers(f'http://127.0.0.1:{port}')


@pytest.mark.parametrize('stack', ['env', 'fork'])
def test_pip_is_held_to_the_lock(tool, monkeypatch, stack):
    env, commands = getattr(tool, stack), []
    monkeypatch.setattr(
        tool, 'succeeds', lambda command, **_: commands.append(command)
    )
    env.installs('torch')
    assert commands[0][-3:] == ['--constraint', env.lock, 'torch']


def read_lock(path):
    """Locked versions by name, of this Python and platform."""
    found = {}
    for line in path.read_text().splitlines():
        if not line.startswith('#'):
            requirement = Requirement(line)
            (pin,) = requirement.specifier
            assert pin.operator == '==', line
            if not requirement.marker or requirement.marker.evaluate():
                found[canonicalize_name(requirement.name)] = pin.version
    return found


@pytest.mark.parametrize('stack', ['env', 'fork', 'docs'])
def test_the_lock_holds_all_that_is_required(tool, stack):
    """In versions that are asked for, and from no named host."""
    if stack == 'docs':
        files, lock = ('docs', 'lint'), ROOT / 'requirements/locks/docs.txt'
    else:
        env = getattr(tool, stack)
        files, lock = env.files, env.lock
    locked = read_lock(lock)
    for name in files:
        for line in (ROOT / f'requirements/{name}.txt').open():
            if line.strip() and not line.startswith(('#', '-r')):
                wanted = Requirement(line)
                version = locked[canonicalize_name(wanted.name)]
                assert version in wanted.specifier, line
    assert '://' not in lock.read_text()


@pytest.mark.skipif(
    not Path(sys.prefix, 'setup_env.sha256').exists(),
    reason='the environment is not one that this tool has built',
)
def test_what_is_installed_is_what_is_locked(tool):
    is_fork = any(metadata.distributions(name='onedl-mmcv'))
    locked = read_lock((tool.fork if is_fork else tool.env).lock)
    assert len(locked) > 60
    for name, version in locked.items():
        # A build for the CPU adds +cpu to its version.
        assert metadata.version(name).split('+')[0] == version, name


def test_the_fork_is_an_environment_of_its_own(tool, monkeypatch):
    assert tool.main() == 0
    monkeypatch.setattr(sys, 'argv', [*sys.argv, '--stack', 'fork'])
    assert tool.main() == 0
    assert tool.builds == [False, True]


def test_two_families_are_never_mixed(tool, monkeypatch, capsys):
    venv.create(tool.folder, symlinks=True)
    (packages,) = tool.folder.glob('lib/python*/site-packages')
    file = packages / 'mmengine-0.10.7.dist-info' / 'METADATA'
    file.parent.mkdir()
    file.write_text('Name: mmengine\nVersion: 0.10.7\n')
    tool.require_fit(tool.env)
    monkeypatch.setattr(sys, 'argv', [*sys.argv, '--stack', 'fork'])
    assert tool.main() == 1
    assert 'has mmengine of another stack' in capsys.readouterr().err
    assert tool.builds == []


def test_a_python_too_old_for_the_fork_is_named(tool, monkeypatch):
    monkeypatch.setattr(tool, 'sys', SimpleNamespace(version_info=(3, 9)))
    tool.require_fit(tool.env)
    with pytest.raises(tool.SetupError, match=r'fork\.txt needs Python'):
        tool.require_fit(tool.fork)
