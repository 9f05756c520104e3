"""What a detector and its training cost."""

import json
import logging
import resource
import statistics
import sys
from functools import partial
from pathlib import Path
from typing import Dict, List, Optional

import torch
from mmengine.analysis import get_model_complexity_info
from mmengine.logging import MMLogger
from torch import nn

# Images over which operations are averaged: only the number of proposals
# makes them differ.
FLOP_IMAGES = 5
# Of the lines of a training's log, left out while caches fill.
WARM_UP = 0.1
MIB = 2**20


def complexity(model: nn.Module, batches: List[dict]) -> Dict[str, float]:
    """Parameters, and operations of an image.

    As mmdet's get_flops.py: mmengine traces the network and counts a
    multiplication and its addition as one. NMS and RoI pooling count nothing,
    except the matrix products of R-FCN's ``PSRoIPool``.

    Args:
        model (nn.Module): A two-stage detector, in evaluation mode.
        batches (list[dict]): Preprocessed batches of one image each.

    Returns:
        dict[str, float]: ``parameters`` and ``flops``.
    """
    forward, flops = model.forward, []
    logger = MMLogger.get_current_instance()
    level = logger.level
    # It warns of each operation that counts nothing.
    logger.setLevel(logging.ERROR)
    try:
        for batch in batches:
            model.forward = partial(
                forward, data_samples=batch['data_samples']
            )
            info = get_model_complexity_info(
                model,
                inputs=(batch['inputs'],),
                show_table=False,
                show_arch=False,
            )
            flops.append(info['flops'])
    finally:
        model.forward = forward
        logger.setLevel(level)
    return dict(parameters=info['params'], flops=statistics.mean(flops))


def training_cost(folder: Path) -> Dict[str, Optional[float]]:
    """Time and memory of a training, from mmengine's logs.

    Args:
        folder (Path): Of a run, with ``*/vis_data/scalars.json`` of each time
            that it was started.

    Returns:
        dict[str, float]: ``train_s_per_iter``, the median of what the logs
        hold, the first tenth of each start left out, and ``train_memory_mb``,
        the peak that CUDA's allocator saw. None where logs hold neither.
    """
    seconds, memory = [], []
    for path in sorted(folder.glob('*/vis_data/scalars.json')):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        lines = [line for line in lines if 'loss' in line]
        skipped = max(round(WARM_UP * len(lines)), 1)
        seconds += [line['time'] for line in lines[skipped:] if 'time' in line]
        memory += [line['memory'] for line in lines if 'memory' in line]
    return dict(
        train_s_per_iter=statistics.median(seconds) if seconds else None,
        train_memory_mb=float(max(memory)) if memory else None,
    )


def start_peak(device: torch.device) -> None:
    """Forget the peak of memory so far, where the device can."""
    if device.type == 'cuda':
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory(device: torch.device) -> float:
    """Peak memory in MiB.

    On a GPU, of tensors since :func:`start_peak`; on a CPU, of the whole
    process since it began.
    """
    if device.type == 'cuda':
        return torch.cuda.max_memory_allocated(device) / MIB
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # In KiB on Linux, in bytes on macOS.
    return size / (MIB if sys.platform == 'darwin' else 1024)
