"""Where a measurement comes from: software, commit and hardware."""

import platform
import re
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Dict, Optional

import torch

from ..version import __version__

_PACKAGES = 'torch torchvision mmcv mmengine mmdet pycocotools numpy'


def environment(device: torch.device) -> Dict[str, Optional[str]]:
    """Versions, commit and hardware of this process."""
    found = dict(python=platform.python_version(), mmdet_klrpn=__version__)
    for package in _PACKAGES.split():
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # an unusual build of it
            found[package] = None
    return dict(
        found,
        commit=_git_commit(),
        system=f'{platform.system()} {platform.machine()}',
        device=_device_name(device),
        threads=str(torch.get_num_threads()),
    )


def _git_commit() -> Optional[str]:
    """Commit of the package's checkout, '+' where files were changed."""
    git = ['git', '-C', str(Path(__file__).parent)]
    git += ['describe', '--always', '--dirty=+', '--abbrev=12', '--exclude=*']
    try:
        return subprocess.check_output(
            git, stderr=subprocess.DEVNULL, text=True
        ).strip()
    except (OSError, subprocess.CalledProcessError):
        return None  # installed from a wheel


def _device_name(device: torch.device) -> str:
    """Model of the GPU or CPU."""
    if device.type == 'cuda':
        return torch.cuda.get_device_name(device)
    info = Path('/proc/cpuinfo')
    text = info.read_text() if info.is_file() else ''
    found = re.search(r'model name\s*: (.+)', text)
    return found[1] if found else platform.processor() or 'CPU'


def trained_with(folder: Path) -> Dict[str, Optional[str]]:
    """Number of processes and PyTorch of a training, from mmengine's log."""
    logs = sorted(folder.glob('*/*.log'))
    text = logs[-1].read_text() if logs else ''
    patterns = dict(
        processes=r'GPU number: (\d+)',
        torch=r'PyTorch: (\S+)',
        device=r'GPU 0[^:]*: (.+)',
    )
    found = {name: re.search(p, text) for name, p in patterns.items()}
    return {name: match and match[1] for name, match in found.items()}
