"""What a detector and its training cost."""

import json
import resource
import statistics
from functools import partial
from pathlib import Path
from typing import Dict, List

import torch
from mmengine.analysis import get_model_complexity_info
from torch import nn

from .stages import Stages

MIB = 2**20
# Share of a training's log that is left out while caches fill.
_WARM_UP = 0.1


def complexity(model: nn.Module, batches: List[dict]) -> Dict[str, float]:
    """Parameters, and operations of an image, a mean over some.

    As mmdet's get_flops.py: mmengine traces the network and counts a
    multiplication and its addition as one. NMS and RoI pooling count nothing,
    except the matrix products of R-FCN's ``PSRoIPool``.

    Args:
        model (nn.Module): A detector, in evaluation mode.
        batches (list[dict]): Preprocessed batches of one image each.
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


def training_cost(folder: Path) -> Dict[str, float]:
    """Time and memory of a training, from mmengine's logs.

    Args:
        folder (Path): Of a run, with ``*/vis_data/scalars.json`` of each time
            that it was started.

    Returns:
        dict[str, float]: ``training_s``, the median time of an iteration
        without the first tenth of each start, and ``training_mb``, the peak
        that CUDA's allocator saw. NaN where logs hold neither.
    """
    seconds, memory = [], []
    for path in sorted(folder.glob('*/vis_data/scalars.json')):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        lines = [line for line in lines if 'loss' in line]
        skipped = max(round(_WARM_UP * len(lines)), 1)
        seconds += [line['time'] for line in lines[skipped:] if 'time' in line]
        memory += [line['memory'] for line in lines if 'memory' in line]
    return dict(
        training_s=statistics.median(seconds or [float('nan')]),
        training_mb=float(max(memory, default=float('nan'))),
    )


def inference_memory(stages: Stages, batches: List[dict]) -> float:
    """Peak memory of inference in MiB.

    On a GPU it is that of tensors, weights included, with the config's own
    number of proposals; on a CPU that of the whole process so far.

    Args:
        stages (Stages): The detector.
        batches (list[dict]): Batches of one image each, as they are loaded.
    """
    device = next(stages.model.parameters()).device
    if device.type == 'cuda':
        torch.cuda.reset_peak_memory_stats(device)
    for batch in batches:
        stages.run(batch)
    if device.type == 'cuda':
        return torch.cuda.max_memory_allocated(device) / MIB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
