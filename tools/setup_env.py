#!/usr/bin/env python
"""Build a virtual environment with the pinned stack, or repair one.

Needs only Python 3.8 to 3.11 and its standard library. A stamp with a hash of
everything that decides the result is written last: while it matches and the
imports work, the command does nothing.
"""

import argparse
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple, Tuple

START = time.monotonic()
ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / 'requirements'
# PyTorch publishes builds without CUDA here, a tenth of the size.
TORCH_CPU_INDEX = 'https://download.pytorch.org/whl/cpu'
PROBE_SECONDS = 5
CHECK = (
    'import torch, torchvision, mmcv._ext, mmdet.models, mim, pytest, ruff, '
    'codespell_lib, mmdet_klrpn'
)
# mmcv can be built without its operators, or without those for a GPU.
HAS_OPERATORS = 'import mmcv._ext'
HAS_CUDA = (
    '; import torch; assert torch.version.cuda; from mmcv.ops import '
    'get_compiling_cuda_version as cuda; assert cuda() != "not available"'
)


class SetupError(Exception):
    """A step failed, with advice in the message."""


class Environment(NamedTuple):
    """A virtual environment and its packages."""

    folder: Path
    name: str  # of the stack
    python: Tuple[int, int]  # the oldest supported version
    files: Tuple[str, ...]  # in requirements/; the first one has the pins
    prefix: str  # of pip's names of mmengine and mmcv
    wheels: str  # URL of prebuilt mmcvs for the pinned torch
    cuda: str  # CUDA version of PyPI's torch
    imports: str  # further imports to check

    @property
    def pins(self) -> Path:
        """The file with the pinned packages."""
        return REQUIREMENTS / f'{self.files[0]}.txt'

    @property
    def lock(self) -> Path:
        """The file with the version of everything that they depend on."""
        return REQUIREMENTS / 'locks' / f'{self.name}.txt'

    def runs(self, *args: object, **options) -> bool:
        """Whether a command of its interpreter succeeds."""
        return succeeds([self.folder / 'bin/python', *args], **options)

    def installs(self, *args: object, **options) -> bool:
        """Whether pip installs something, in the locked version if any."""
        pip = ('-m', 'pip', 'install', '-qq', '--constraint', self.lock)
        return self.runs(*pip, *args, **options)


# Families of packages that provide mmengine, mmcv, mmdet and mim.
STACKS = dict(
    openmmlab=dict(
        python=(3, 8),
        files=('runtime', 'deploy', 'tests', 'lint', 'mim'),
        prefix='',
        wheels='https://download.openmmlab.com/mmcv/dist/{}/torch2.1.0/'
        'index.html',
        cuda='cu121',
        imports=', onnxruntime, onnxscript',
    ),
    fork=dict(
        python=(3, 10),
        files=('fork', 'tests', 'lint'),
        prefix='onedl-',
        wheels='https://mmwheels.onedl.ai/{}-torch260/simple/onedl-mmcv/'
        'index.html',
        cuda='cu124',
        imports='',
    ),
)


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('venv', type=Path, help='folder of the environment')
    parser.add_argument(
        '--stack',
        choices=STACKS,
        default='openmmlab',
        help='packages to install (default: %(default)s)',
    )
    args = parser.parse_args()
    stack = STACKS[args.stack]
    env = Environment(args.venv.absolute(), args.stack, **stack)
    stamp = env.folder / 'setup_env.sha256'
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
    say(f'{env.folder} is ready')
    return 0


def require_fit(env: Environment) -> None:
    """Raise a SetupError if the stack does not fit Python or the folder."""
    if sys.version_info < env.python:
        oldest = '.'.join(map(str, env.python))
        raise SetupError(
            f'{env.pins.name} needs Python {oldest} or later: put one on the '
            f'PATH (this is {platform.python_version()})'
        )
    for other in STACKS.values():
        name = f'{other["prefix"]}mmengine'
        code = f'from importlib.metadata import version as v; v({name!r})'
        if other['prefix'] != env.prefix and env.runs('-c', code):
            # Both write the folders mmengine, mmcv, mmdet and mim.
            raise SetupError(
                f'{env.folder} has {name} of another stack, whose files those '
                f'of {env.pins.name} would overwrite: name another folder'
            )


def build_or_mend(env: Environment) -> None:
    """Complete an environment, or build it anew if that does not help."""
    if env.folder.exists() and any(env.folder.iterdir()):
        # Even an interrupted creation of an environment leaves one of these.
        if not {'bin', 'pyvenv.cfg'}.intersection(os.listdir(env.folder)):
            raise SetupError(
                f'{env.folder} is no virtual environment and is left as it '
                'is: name another folder'
            )
        try:
            build(env)
            if works(env):
                return
        except SetupError as error:
            say(str(error))
        say('it cannot be completed: building it anew')
        shutil.rmtree(env.folder)
    build(env)
    if not works(env, quiet=False):
        raise SetupError(f'{env.folder} does not import, as shown above')


def fingerprint(env: Environment) -> str:
    """Hash the Python, the folder and all files that decide the result."""
    facts = (sys.version, ROOT, env, has_gpu())
    digest = hashlib.sha256(repr(facts).encode())
    files = [Path(__file__), ROOT / 'setup.py', ROOT / 'setup.cfg']
    for file in files + sorted(REQUIREMENTS.rglob('*.txt')):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def works(env: Environment, quiet: bool = True) -> bool:
    """Whether everything imports in an environment, for its GPU if any."""
    code = CHECK + env.imports + HAS_CUDA * has_gpu()
    # Isolated: the package must be installed, not only lie in this folder.
    return env.runs('-I', '-c', code, quiet=quiet)


def build(env: Environment) -> None:
    """Install everything, in the order that the packages need."""
    # A folder that can run pip is kept: it may only have been interrupted.
    if not env.runs('-m', 'pip', '--version'):
        version = platform.python_version()
        say(f'making {env.folder} with Python {version}: seconds')
        shutil.rmtree(env.folder, ignore_errors=True)
        command = [sys.executable, '-m', 'venv', env.folder]
        if not succeeds(command, quiet=False):
            raise SetupError(
                f'{sys.executable} cannot make a virtual environment: on '
                'Debian and Ubuntu, install the package python3-venv'
            )
    (env.folder / 'setup_env.sha256').unlink(missing_ok=True)
    say('installing pip, setuptools and wheel: seconds')
    # mmcv's build and mmengine need pkg_resources of the older setuptools.
    pip_install(env, 'pip>=23', 'setuptools<81', 'wheel')
    install_torch(env)
    install_mmcv(env)
    say('installing mmdet, mim, the test tools and this package: a minute')
    for name in env.files:
        pip_install(env, '--requirement', REQUIREMENTS / f'{name}.txt')
    pip_install(env, '--no-deps', '--editable', ROOT)


def install_torch(env: Environment) -> None:
    """Install torch: without a GPU, PyTorch's CPU build if reachable."""
    options, cost = [], '2 minutes, and the download of 3.1 GB'
    if not has_gpu() and answers(TORCH_CPU_INDEX + '/torch/'):
        # A local version, 2.1.2+cpu, goes before the 2.1.2 it stands for.
        options = ['--extra-index-url', TORCH_CPU_INDEX]
        cost = 'a minute, and the download of 200 MB'
    say(f'installing torch: {cost} unless pip has it')
    pip_install(env, *options, 'torch', 'torchvision')
    cuda = 'import torch; assert torch.version.cuda'
    if has_gpu() and not env.runs('-c', cuda):
        raise SetupError('the torch in place is one without CUDA')


def install_mmcv(env: Environment) -> None:
    """Install mmcv with its operators, from a wheel or its sources."""
    mmcv = f'{env.prefix}mmcv'
    check = HAS_OPERATORS + HAS_CUDA * has_gpu()
    links = env.wheels.format(env.cuda if has_gpu() else 'cpu')
    options = ['--find-links', links] if answers(links) else []
    say('looking for a prebuilt mmcv: seconds')
    if env.installs(*options, f'--only-binary={mmcv}', mmcv) and env.runs(
        '-c', check
    ):
        return
    compile_mmcv(env, mmcv)
    if not env.runs('-c', check, quiet=False):
        raise SetupError(
            'mmcv could not be compiled with its operators (mmcv._ext), as '
            'shown above: it takes a C++17 compiler, the headers of Python, 4 '
            'GB of memory and, for a GPU, the CUDA toolkit with nvcc'
        )


def compile_mmcv(env: Environment, mmcv: str) -> None:
    """Build mmcv, given pip's name of it, from its sources."""
    env.runs('-m', 'pip', 'uninstall', '--yes', mmcv)
    # Without ninja, one file at a time; the fork's setup.py needs packaging.
    pip_install(env, 'ninja', 'packaging')
    jobs = os.environ.get('MAX_JOBS', '')
    if not jobs.isdigit():  # mmcv's setup.py would take four, or more
        memory = os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')
        cores = len(os.sched_getaffinity(0))
        # A file takes about 2 GiB to compile.
        jobs = str(max(min(cores, memory // 2**31), 1))
    variables = dict(
        os.environ,
        MAX_JOBS=jobs,
        # torch looks for ninja on the PATH; pip puts it into this folder.
        PATH=f'{env.folder / "bin"}{os.pathsep}{os.environ["PATH"]}',
        # Debug symbols, which the flags of Python itself ask for, take half
        # of the time and no operator needs them.
        CFLAGS=f'{os.environ.get("CFLAGS", "")} -g0'.strip(),
    )
    # The operators for a CPU take 15 minutes of one core.
    minutes = -(-15 // max(int(jobs), 1))
    say(
        f'compiling mmcv: about {minutes} minutes, {jobs} files at once'
        f'{", longer for a GPU" * has_gpu()}; no prebuilt wheel for this '
        'Python and torch is in reach'
    )
    # In an isolated build mmcv does not find torch, and leaves its operators
    # out without a word.
    options = ('--no-build-isolation', f'--no-binary={mmcv}', '--no-cache-dir')
    env.installs(*options, mmcv, quiet=False, env=variables)


def pip_install(env: Environment, *args: object) -> None:
    """Install, or raise a SetupError; pip has then said why."""
    if not env.installs(*args, quiet=False):
        words = ' '.join(map(str, args))
        raise SetupError(f'this failed: pip install {words}')


def succeeds(command: list, quiet: bool = True, **options) -> bool:
    """Whether a command runs and exits with 0, with options of subprocess."""
    sink = subprocess.DEVNULL if quiet else None
    try:
        subprocess.run(
            command, stdout=sink, stderr=sink, check=True, **options
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return True


def has_gpu() -> bool:
    """Whether an NVIDIA driver answers."""
    return succeeds(['nvidia-smi'])


def answers(url: str) -> bool:
    """Whether an address answers within seconds, name resolution included."""
    code = f'import urllib.request as r; r.urlopen({url!r}).read(1)'
    return succeeds([sys.executable, '-c', code], timeout=PROBE_SECONDS)


def say(text: str) -> None:
    """Print a progress line at once, with the time since the start."""
    minutes, seconds = divmod(round(time.monotonic() - START), 60)
    print(f'setup_env [{minutes}:{seconds:02d}]: {text}', flush=True)


if __name__ == '__main__':
    sys.exit(main())
