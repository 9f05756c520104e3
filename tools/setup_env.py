#!/usr/bin/env python
"""Build a virtual environment with the pinned stack, or mend a broken one.

Runs on a bare Python 3.8 to 3.11, with nothing but the standard library. A
stamp with a hash of everything that decides the result is written last: while
it matches and the imports work, a call does nothing.
"""

import argparse
import hashlib
import platform
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from typing import List

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / 'requirements'
# Where PyTorch publishes builds without CUDA, a tenth of the size.
TORCH_CPU_INDEX = 'https://download.pytorch.org/whl/cpu'
MMCV_WHEELS = (
    'https://download.openmmlab.com/mmcv/dist/{device}/torch2.1.0/index.html'
)
PROBE_SECONDS = 5
# mmcv's build and mmengine import pkg_resources, which setuptools is dropping.
BUILD_TOOLS = ('pip>=23', 'setuptools<81', 'wheel')
CHECK = (
    'import torch, torchvision, mmcv._ext, mmdet.models, mim, pytest, ruff, '
    'codespell_lib, onnxruntime, onnxscript, mmdet_klrpn'
)
# What even an interrupted creation of an environment leaves.
ENV_PARTS = ('bin', 'pyvenv.cfg')
HAS_CUDA = 'import torch, sys; sys.exit(torch.version.cuda is None)'


class SetupError(Exception):
    """A step failed, with advice in the message."""


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('venv', type=Path, help='folder of the environment')
    folder = parser.parse_args().venv.absolute()
    stamp = folder / 'setup_env.sha256'
    wanted = fingerprint(folder)
    if stamp.exists() and stamp.read_text() == wanted and works(folder):
        return 0
    try:
        build_or_mend(folder)
    except SetupError as error:
        print(f'setup_env: {error}', file=sys.stderr)
        return 1
    stamp.write_text(wanted)
    say(f'{folder} is ready')
    return 0


def build_or_mend(folder: Path) -> None:
    """Complete an environment, or build it anew where that does not help."""
    existed = folder.exists() and any(folder.iterdir())
    if existed and not any((folder / p).exists() for p in ENV_PARTS):
        raise SetupError(
            f'{folder} is no virtual environment and is left as it is: name '
            'another folder'
        )
    try:
        build(folder)
        mended = works(folder)
    except SetupError as error:
        if not existed:
            raise
        say(str(error))
        mended = False
    if existed and not mended:
        say('it cannot be completed: building it anew')
        shutil.rmtree(folder)
        build(folder)
    if not works(folder, quiet=False):
        raise SetupError(f'{folder} does not import, as shown above')


def fingerprint(folder: Path) -> str:
    """Hash of the Python, the place and each file that decides the result."""
    facts = (sys.version, ROOT, folder, has_gpu())
    digest = hashlib.sha256(repr(facts).encode())
    files = [Path(__file__), ROOT / 'setup.py', ROOT / 'setup.cfg']
    for file in files + sorted(REQUIREMENTS.glob('*.txt')):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def works(folder: Path, quiet: bool = True) -> bool:
    """Whether everything imports in an environment."""
    # Isolated: the package must be installed, not only lie in this folder.
    return succeeds([folder / 'bin' / 'python', '-I', '-c', CHECK], quiet)


def build(folder: Path) -> None:
    """Install everything, in the order that the packages need."""
    python = folder / 'bin' / 'python'
    # Kept if it can run pip, which completes what an interruption left.
    if not succeeds([python, '-m', 'pip', '--version']):
        say(f'making {folder} with Python {platform.python_version()}')
        shutil.rmtree(folder, ignore_errors=True)
        create(folder)
    (folder / 'setup_env.sha256').unlink(missing_ok=True)
    pip_install(python, *BUILD_TOOLS)
    install_torch(python)
    install_mmcv(python)
    say('installing mmdet, openmim, the test tools and this package')
    names = ('runtime', 'tests', 'lint', 'mim')
    for name in names:
        pip_install(python, '--requirement', REQUIREMENTS / f'{name}.txt')
    pip_install(python, '--no-deps', '--editable', ROOT)


def create(folder: Path) -> None:
    """Make an empty environment with pip."""
    try:
        venv.create(folder, with_pip=True, symlinks=True)
    except (subprocess.CalledProcessError, OSError) as error:
        raise SetupError(
            f'{sys.executable} cannot make a virtual environment ({error}): '
            'on Debian and Ubuntu, install the package python3-venv'
        ) from error


def install_torch(python: Path) -> None:
    """Install torch: PyTorch's own CPU build where that serves and answers."""
    if has_gpu() and not succeeds([python, '-c', HAS_CUDA]):
        # Left by a build on a machine without a GPU, or nothing at all.
        packages = ('torch', 'torchvision', 'mmcv')
        succeeds([python, '-m', 'pip', 'uninstall', '--yes', *packages])
    options = []
    size = '2.7 GB'
    if not has_gpu() and answers(TORCH_CPU_INDEX + '/torch/'):
        # A local version, 2.1.2+cpu, goes before the 2.1.2 it stands for.
        options = ['--extra-index-url', TORCH_CPU_INDEX]
        size = '200 MB'
    say(f'installing torch, up to {size} to download')
    pip_install(python, *options, pin('torch'), pin('torchvision'))


def install_mmcv(python: Path) -> None:
    """Install mmcv with its operators: a prebuilt wheel, else the sources."""
    mmcv = pin('mmcv')
    version = mmcv.split('==')[1]
    check = f'import mmcv._ext; assert mmcv.__version__ == {version!r}'
    if has_gpu():
        check += '; from mmcv.ops import get_compiling_cuda_version as cuda'
        check += '; assert cuda() != "not available"'
    if succeeds([python, '-c', check]):
        return
    links = MMCV_WHEELS.format(device='cu121' if has_gpu() else 'cpu')
    options = ['--find-links', links] if answers(links) else []
    say('looking for a prebuilt mmcv')
    command = install_command(python, '--only-binary=mmcv', *options, mmcv)
    if succeeds(command) and succeeds([python, '-c', check]):
        return
    say(
        'compiling mmcv, ~20 minutes on two cores, once: there is no prebuilt '
        'wheel within reach for this Python and torch'
    )
    succeeds([python, '-m', 'pip', 'uninstall', '--yes', 'mmcv'])
    pip_install(python, 'ninja')  # without it, one file at a time
    # In an isolated build mmcv does not find torch, and leaves its operators
    # out without a word.
    options = ['--no-build-isolation', '--no-binary=mmcv', '--no-cache-dir']
    built = succeeds(install_command(python, *options, mmcv), quiet=False)
    if not built or not succeeds([python, '-c', check], quiet=False):
        raise SetupError(
            'mmcv could not be compiled with its operators (mmcv._ext), as '
            'shown above: it takes a C++17 compiler, the headers of Python, 8 '
            'GB of memory and, for a GPU, the CUDA toolkit with nvcc'
        )


def pin(name: str) -> str:
    """The runtime requirement on a package."""
    for line in (REQUIREMENTS / 'runtime.txt').read_text().split():
        if line.startswith(f'{name}=='):
            return line
    raise SetupError(f'requirements/runtime.txt must pin {name}==VERSION')


def install_command(python: Path, *args: object) -> List[str]:
    """A pip command that never moves a pinned package."""
    pip = [python, '-m', 'pip', 'install', '-qq']
    pip += ['--constraint', REQUIREMENTS / 'runtime.txt', *args]
    return [str(word) for word in pip]


def pip_install(python: Path, *args: object) -> None:
    """Install, or raise a SetupError; pip has then said why."""
    command = install_command(python, *args)
    if not succeeds(command, quiet=False):
        raise SetupError(f'this failed: {" ".join(command)}')


def succeeds(command: List, quiet: bool = True) -> bool:
    """Whether a command runs and exits with 0."""
    sink = subprocess.DEVNULL if quiet else None
    try:
        result = subprocess.run(command, stdout=sink, stderr=sink, check=False)
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
    """Print a progress line at once."""
    print(f'setup_env: {text}', flush=True)


if __name__ == '__main__':
    sys.exit(main())
