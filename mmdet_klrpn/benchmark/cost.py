"""What a detector and its training cost, on which software and hardware."""

import json
import platform
import re
import resource
import statistics
import subprocess
from contextlib import suppress
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Dict, List, Optional, Tuple

import torch
from mmengine.analysis import get_model_complexity_info
from torch import nn

from ..version import __version__
from .stages import Stages

_PACKAGES = 'torch torchvision mmcv mmengine mmdet pycocotools numpy'
_IN_LOGS = dict(
    processes=r'GPU number: (\d+)',
    torch=r'PyTorch: (\S+)',
    device=r'GPU 0[^:]*: (.+)',
)
# Share of a training's log that is left out while caches fill.
_WARM_UP = 0.1


def complexity(model: nn.Module, batches: List[dict]) -> Dict[str, float]:
    """Parameters, and operations of an image, a mean over some.

    As mmdet's get_flops.py: mmengine traces the network and counts a
    multiplication and its addition as one. NMS and RoI pooling count nothing,
    except the matrix products of R-FCN's ``PSRoIPool``. Batches are
    preprocessed, of one image each.
    """
    forward, flops = model.forward, []
    try:
        for batch in batches:
            samples = batch['data_samples']
            model.forward = partial(forward, data_samples=samples)
            info = get_model_complexity_info(
                model,
                inputs=(batch['inputs'],),
                show_table=False,
                show_arch=False,
            )
            flops.append(info['flops'])
    finally:
        model.forward = forward
    return dict(parameters=info['params'], flops=statistics.mean(flops))


def read_logs(folder: Path) -> Tuple[Dict[str, float], Dict[str, str]]:
    """What mmengine's logs say of a training.

    Args:
        folder (Path): Of a run, with ``*/vis_data/scalars.json`` of each time
            that it was started.

    Returns:
        tuple[dict, dict]: ``training_s``, the median time of an iteration
        without the first tenth of each start, and ``training_mb``, the peak
        that CUDA's allocator saw, NaN where logs hold neither; and the number
        of ``processes``, the version of ``torch`` and the ``device``.
    """
    seconds, memory = [], []
    for path in sorted(folder.glob('*/vis_data/scalars.json')):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        lines = [line for line in lines if 'loss' in line]
        skipped = max(round(_WARM_UP * len(lines)), 1)
        seconds += [line['time'] for line in lines[skipped:] if 'time' in line]
        memory += [line['memory'] for line in lines if 'memory' in line]
    costs = dict(
        training_s=statistics.median(seconds or [float('nan')]),
        training_mb=float(max(memory, default=float('nan'))),
    )
    logs = sorted(folder.glob('*/*.log'))
    text = logs[-1].read_text() if logs else ''
    found = {key: re.search(x, text) for key, x in _IN_LOGS.items()}
    return costs, {key: match and match[1] for key, match in found.items()}


def inference_memory(stages: Stages, batches: List[dict]) -> float:
    """Peak memory of inference in MiB.

    On a GPU it is that of tensors, weights included, with the config's own
    number of proposals; on a CPU that of the whole process so far. Batches
    are of one image each, as they are loaded.
    """
    device = next(stages.model.parameters()).device
    if device.type == 'cuda':
        torch.cuda.reset_peak_memory_stats(device)
    for batch in batches:
        stages.run(batch)
    if device.type == 'cuda':
        return torch.cuda.max_memory_allocated(device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def environment(device: torch.device) -> Dict[str, Optional[str]]:
    """Versions, commit and hardware of this process."""
    found = dict(python=platform.python_version(), mmdet_klrpn=__version__)
    for package in _PACKAGES.split():
        found[package] = None
        with suppress(PackageNotFoundError):  # of an unusual build
            found[package] = version(package)
    # Of a checkout, with '+' where files were changed; none of a wheel.
    git = ['git', '-C', str(Path(__file__).parent), 'describe', '--always']
    git += ['--dirty=+', '--abbrev=12', '--exclude=*']
    found['commit'] = None
    with suppress(OSError, subprocess.CalledProcessError):
        text = subprocess.check_output(git, stderr=subprocess.DEVNULL)
        found['commit'] = text.decode().strip()
    info, name = Path('/proc/cpuinfo'), platform.processor() or 'CPU'
    if device.type == 'cuda':
        name = torch.cuda.get_device_name(device)
    elif info.is_file():
        model = re.search(r'model name\s*: (.+)', info.read_text())
        name = model[1] if model else name
    return dict(
        found,
        system=f'{platform.system()} {platform.machine()}',
        device=name,
        threads=str(torch.get_num_threads()),
    )
