#!/usr/bin/env python
"""Build a virtual environment with the pinned stack, or mend a broken one.

Runs on a bare Python 3.8 to 3.11, with nothing but the standard library. A
stamp with a hash of everything that decides the result is written last: while
it matches and the imports work, a call does nothing.
"""

import argparse
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import time
import venv
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Tuple

START = time.monotonic()
ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / 'requirements'
# Where PyTorch publishes builds without CUDA, a tenth of the size.
TORCH_CPU_INDEX = 'https://download.pytorch.org/whl/cpu'
PROBE_SECONDS = 5
# Compiling mmcv's operators takes this many minutes of one core, without
# those for a GPU, and this much memory for each file at once.
COMPILE_MINUTES = 15
COMPILE_BYTES = 2 * 1024**3
# mmcv's build and mmengine import pkg_resources, which setuptools is dropping.
BUILD_TOOLS = ('pip>=23', 'setuptools<81', 'wheel')
CHECK = (
    'import torch, torchvision, mmcv._ext, mmdet.models, mim, pytest, ruff, '
    'codespell_lib, mmdet_klrpn'
)
# What even an interrupted creation of an environment leaves.
ENV_PARTS = ('bin', 'pyvenv.cfg')
HAS_CUDA = 'import torch, sys; sys.exit(torch.version.cuda is None)'


class SetupError(Exception):
    """A step failed, with advice in the message."""


class Stack(NamedTuple):
    """A family of packages that provides mmengine, mmcv, mmdet and mim."""

    python: Tuple[int, int]  # the oldest that it runs on
    # Of requirements/; the first has the pins that nothing else may move.
    files: Tuple[str, ...]
    prefix: str  # of the names under which pip knows mmengine and mmcv
    mmcv_wheels: str  # where prebuilt ones for the pinned torch lie
    cuda: str  # which of them suits that torch from PyPI
    imports: Tuple[str, ...]  # what must import beside what CHECK has

    @property
    def pins(self) -> Path:
        """The file with the pinned packages."""
        return REQUIREMENTS / f'{self.files[0]}.txt'

    def pin(self, name: str) -> str:
        """The requirement on a pinned package."""
        for line in self.pins.read_text().split():
            if line.startswith(f'{name}=='):
                return line
        raise SetupError(
            f'requirements/{self.pins.name} must pin {name}==VERSION'
        )


STACKS = dict(
    openmmlab=Stack(
        python=(3, 8),
        files=('runtime', 'deploy', 'tests', 'lint', 'mim'),
        prefix='',
        mmcv_wheels='https://download.openmmlab.com/mmcv/dist/{device}/'
        'torch2.1.0/index.html',
        cuda='cu121',
        imports=('onnxruntime', 'onnxscript'),
    ),
    fork=Stack(
        python=(3, 10),
        files=('fork', 'tests', 'lint'),
        prefix='onedl-',
        mmcv_wheels='https://mmwheels.onedl.ai/{device}-torch260/simple/'
        'onedl-mmcv/index.html',
        cuda='cu124',
        imports=(),
    ),
)


class Environment(NamedTuple):
    """A virtual environment, and what it is for."""

    folder: Path
    stack: Stack

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / 'bin' / 'python'


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('venv', type=Path, help='folder of the environment')
    parser.add_argument('--stack', choices=STACKS, default='openmmlab')
    args = parser.parse_args()
    folder = args.venv.absolute()
    env = Environment(folder, STACKS[args.stack])
    stamp = folder / 'setup_env.sha256'
    wanted = fingerprint(env)
    if stamp.exists() and stamp.read_text() == wanted and works(env):
        return 0
    try:
        require_fit(env)
        build_or_mend(env)
    except SetupError as error:
        print(f'setup_env: {error}', file=sys.stderr)
        return 1
    stamp.write_text(wanted)
    say(f'{folder} is ready')
    return 0


def require_fit(env: Environment) -> None:
    """Raise a SetupError where the stack and the place do not agree."""
    if sys.version_info < env.stack.python:
        raise SetupError(
            f'{env.stack.pins.name} needs Python '
            f'{".".join(map(str, env.stack.python))} or later: put one on the '
            f'PATH (this is {platform.python_version()})'
        )
    for other in STACKS.values():
        name = f'{other.prefix}mmengine'
        code = f'from importlib.metadata import version as v; v({name!r})'
        if other != env.stack and succeeds([env.python, '-c', code]):
            # Both write the folders mmengine, mmcv, mmdet and mim.
            raise SetupError(
                f'{env.folder} has {name} of another stack, whose files those '
                f'of {env.stack.pins.name} would overwrite: name another '
                'folder'
            )


def build_or_mend(env: Environment) -> None:
    """Complete an environment, or build it anew where that does not help."""
    folder = env.folder
    existed = folder.exists() and any(folder.iterdir())
    if existed and not any((folder / p).exists() for p in ENV_PARTS):
        raise SetupError(
            f'{folder} is no virtual environment and is left as it is: name '
            'another folder'
        )
    try:
        build(env)
        mended = works(env)
    except SetupError as error:
        if not existed:
            raise
        say(str(error))
        mended = False
    if existed and not mended:
        say('it cannot be completed: building it anew')
        shutil.rmtree(folder)
        build(env)
    if not works(env, quiet=False):
        raise SetupError(f'{folder} does not import, as shown above')


def fingerprint(env: Environment) -> str:
    """Hash of the Python, the place and each file that decides the result."""
    facts = (sys.version, ROOT, env, has_gpu())
    digest = hashlib.sha256(repr(facts).encode())
    files = [Path(__file__), ROOT / 'setup.py', ROOT / 'setup.cfg']
    for file in files + sorted(REQUIREMENTS.glob('*.txt')):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def works(env: Environment, quiet: bool = True) -> bool:
    """Whether everything imports in an environment."""
    code = ', '.join((CHECK, *env.stack.imports))
    # Isolated: the package must be installed, not only lie in this folder.
    return succeeds([env.python, '-I', '-c', code], quiet)


def build(env: Environment) -> None:
    """Install everything, in the order that the packages need."""
    folder, python = env.folder, env.python
    # Kept if it can run pip, which completes what an interruption left.
    if not succeeds([python, '-m', 'pip', '--version']):
        version = platform.python_version()
        say(f'making {folder} with Python {version}: seconds')
        shutil.rmtree(folder, ignore_errors=True)
        create(folder)
    (folder / 'setup_env.sha256').unlink(missing_ok=True)
    say('installing pip, setuptools and wheel: seconds')
    pip_install(env, *BUILD_TOOLS)
    install_torch(env)
    install_mmcv(env)
    say('installing mmdet, mim, the test tools and this package: a minute')
    for name in env.stack.files:
        pip_install(env, '--requirement', REQUIREMENTS / f'{name}.txt')
    pip_install(env, '--no-deps', '--editable', ROOT)


def create(folder: Path) -> None:
    """Make an empty environment with pip."""
    try:
        venv.create(folder, with_pip=True, symlinks=True)
    except (subprocess.CalledProcessError, OSError) as error:
        raise SetupError(
            f'{sys.executable} cannot make a virtual environment ({error}): '
            'on Debian and Ubuntu, install the package python3-venv'
        ) from error


def install_torch(env: Environment) -> None:
    """Install torch: PyTorch's own CPU build where that serves and answers."""
    python, stack = env.python, env.stack
    if has_gpu() and not succeeds([python, '-c', HAS_CUDA]):
        # Left by a build on a machine without a GPU, or nothing at all.
        packages = ('torch', 'torchvision', f'{stack.prefix}mmcv')
        succeeds([python, '-m', 'pip', 'uninstall', '--yes', *packages])
    options = []
    size, minutes = '3.1 GB', '2 minutes'
    if not has_gpu() and answers(TORCH_CPU_INDEX + '/torch/'):
        # A local version, 2.1.2+cpu, goes before the 2.1.2 it stands for.
        options = ['--extra-index-url', TORCH_CPU_INDEX]
        size, minutes = '200 MB', 'a minute'
    say(
        f'installing torch: {minutes}, and the download of {size} unless pip '
        'has it'
    )
    pins = stack.pin('torch'), stack.pin('torchvision')
    pip_install(env, *options, *pins)


def install_mmcv(env: Environment) -> None:
    """Install mmcv with its operators: a prebuilt wheel, else the sources."""
    python, stack = env.python, env.stack
    mmcv = stack.pin(f'{stack.prefix}mmcv')
    name, version = mmcv.split('==')
    check = f'import mmcv._ext; assert mmcv.__version__ == {version!r}'
    if has_gpu():
        check += '; from mmcv.ops import get_compiling_cuda_version as cuda'
        check += '; assert cuda() != "not available"'
    if succeeds([python, '-c', check]):
        return
    device = stack.cuda if has_gpu() else 'cpu'
    links = stack.mmcv_wheels.format(device=device)
    options = ['--find-links', links] if answers(links) else []
    say('looking for a prebuilt mmcv: seconds')
    command = install_command(env, f'--only-binary={name}', *options, mmcv)
    if succeeds(command) and succeeds([python, '-c', check]):
        return
    compile_mmcv(env, mmcv)
    if not succeeds([python, '-c', check], quiet=False):
        raise SetupError(
            'mmcv could not be compiled with its operators (mmcv._ext), as '
            'shown above: it takes a C++17 compiler, the headers of Python, 4 '
            'GB of memory and, for a GPU, the CUDA toolkit with nvcc'
        )


def compile_mmcv(env: Environment, mmcv: str) -> None:
    """Build mmcv from its sources, by the pinned requirement."""
    name = mmcv.split('==')[0]
    succeeds([env.python, '-m', 'pip', 'uninstall', '--yes', name])
    # Without ninja, one file at a time; the fork's setup.py needs packaging.
    pip_install(env, 'ninja', 'packaging')
    flags = compile_environment(env)
    jobs = max(int(flags['MAX_JOBS']), 1)
    minutes = -(-COMPILE_MINUTES // jobs)
    longer = ', longer for a GPU' if has_gpu() else ''
    say(
        f'compiling mmcv: about {minutes} minutes, {jobs} files at once'
        f'{longer}; no prebuilt wheel for this Python and torch is in reach'
    )
    # In an isolated build mmcv does not find torch, and leaves its operators
    # out without a word.
    options = ['--no-build-isolation', f'--no-binary={name}', '--no-cache-dir']
    command = install_command(env, *options, mmcv)
    succeeds(command, quiet=False, env=flags)


def compile_environment(env: Environment) -> Dict[str, str]:
    """Environment variables that make the compilation of mmcv fast."""
    memory = os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')
    cores = len(os.sched_getaffinity(0))
    jobs = os.environ.get('MAX_JOBS', '')
    if not jobs.isdigit():  # mmcv's setup.py would take four, or more
        jobs = str(max(min(cores, memory // COMPILE_BYTES), 1))
    return {
        **os.environ,
        'MAX_JOBS': jobs,
        # torch looks for ninja on the PATH, and pip puts it into this folder.
        'PATH': f'{env.folder / "bin"}{os.pathsep}{os.environ["PATH"]}',
        # Debug symbols, which the flags of Python itself ask for, take half
        # of the time and no operator needs them.
        'CFLAGS': f'{os.environ.get("CFLAGS", "")} -g0'.strip(),
    }


def install_command(env: Environment, *args: object) -> List[str]:
    """A pip command that never moves a pinned package."""
    pip = [env.python, '-m', 'pip', 'install', '-qq']
    pip += ['--constraint', env.stack.pins, *args]
    return [str(word) for word in pip]


def pip_install(env: Environment, *args: object) -> None:
    """Install, or raise a SetupError; pip has then said why."""
    command = install_command(env, *args)
    if not succeeds(command, quiet=False):
        raise SetupError(f'this failed: {" ".join(command)}')


def succeeds(
    command: List, quiet: bool = True, env: Optional[Dict[str, str]] = None
) -> bool:
    """Whether a command runs and exits with 0."""
    sink = subprocess.DEVNULL if quiet else None
    try:
        result = subprocess.run(
            command, stdout=sink, stderr=sink, check=False, env=env
        )
    except OSError:
        return False
    return result.returncode == 0


def has_gpu() -> bool:
    """Whether an NVIDIA driver answers."""
    return succeeds(['nvidia-smi'])


def answers(url: str) -> bool:
    """Whether an address answers within seconds, name resolution included."""
    code = f'import urllib.request as r; r.urlopen({url!r}).read(1)'
    try:
        subprocess.run(
            [sys.executable, '-c', code],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=PROBE_SECONDS,
            check=True,
        )
    except (subprocess.TimeoutExpired, subprocess.CalledProcessError):
        return False
    return True


def say(text: str) -> None:
    """Print a progress line at once, with the time since the start."""
    minutes, seconds = divmod(round(time.monotonic() - START), 60)
    print(f'setup_env [{minutes}:{seconds:02d}]: {text}', flush=True)


if __name__ == '__main__':
    sys.exit(main())
