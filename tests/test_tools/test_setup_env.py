"""When the environment is built, mended or left alone."""

import sys

import pytest
from conftest import load_tool


@pytest.fixture
def tool(tmp_path, monkeypatch):
    """The script, for a folder whose building is only recorded."""
    module = load_tool('tools/setup_env.py')
    module.folder = tmp_path / 'env'
    module.builds = []
    module.working = True

    def build(folder):
        module.builds.append(folder.exists())
        folder.mkdir(exist_ok=True)
        if module.builds == [True] and module.stays_broken:
            return
        module.working = True

    module.stays_broken = False
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
    tool.folder.mkdir()  # no stamp: it was not finished
    assert tool.main() == 0
    assert tool.builds == [True]


def test_an_environment_that_broke_is_mended(tool):
    assert tool.main() == 0
    tool.working = False
    assert tool.main() == 0
    assert tool.builds == [False, True]


def test_what_cannot_be_mended_is_built_anew(tool):
    tool.folder.mkdir()
    tool.working, tool.stays_broken = False, True
    assert tool.main() == 0
    assert tool.builds == [True, False]


def test_a_failure_is_said_and_leaves_no_stamp(tool, monkeypatch, capsys):
    def fail(folder):
        folder.mkdir()
        raise tool.SetupError('no compiler')

    monkeypatch.setattr(tool, 'build', fail)
    assert tool.main() == 1
    assert 'setup_env: no compiler' in capsys.readouterr().err
    assert list(tool.folder.iterdir()) == []


def test_mmcv_without_operators_is_an_error(tool, monkeypatch):
    monkeypatch.setattr(tool, 'answers', lambda url: False)
    monkeypatch.setattr(tool, 'has_gpu', lambda: False)
    installed = []
    monkeypatch.setattr(
        tool, 'pip_install', lambda python, *args: installed.append(args)
    )
    # pip says that it installed a wheel, but the operators never import.
    monkeypatch.setattr(
        tool, 'succeeds', lambda command, quiet=True: 'pip' in command
    )
    with pytest.raises(tool.SetupError, match=r'mmcv\._ext'):
        tool.install_mmcv(tool.folder / 'bin' / 'python')
    built = [args for args in installed if '--no-binary=mmcv' in args]
    assert len(built) == 1
    assert '--no-build-isolation' in built[0]


def test_torch_comes_from_the_cpu_index_only_without_a_gpu(tool, monkeypatch):
    installed = []
    monkeypatch.setattr(
        tool, 'pip_install', lambda python, *args: installed.append(args)
    )
    monkeypatch.setattr(tool, 'answers', lambda url: True)
    for gpu in (False, True):
        monkeypatch.setattr(tool, 'has_gpu', lambda gpu=gpu: gpu)
        tool.install_torch(tool.folder)
        assert (tool.TORCH_CPU_INDEX in installed[-1]) == (not gpu)
        assert 'torch==2.1.2' in installed[-1]


def test_an_address_that_never_answers_is_given_up(tool, monkeypatch):
    monkeypatch.setattr(tool, 'PROBE_SECONDS', 5)
    assert not tool.answers('http://127.0.0.1:9/')


def test_every_runtime_pin_is_found(tool):
    assert tool.pin('mmcv') == 'mmcv==2.1.0'
    with pytest.raises(tool.SetupError, match='must pin nothing=='):
        tool.pin('nothing')
