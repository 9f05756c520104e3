"""Times of all detectors, taken in turns in one process."""

import itertools
import json
import random
from pathlib import Path
from typing import Dict, List, Tuple

import numpy as np
import torch
from mmengine.device import get_device
from torch.utils.benchmark import Timer

from ..utils.output_files import write_whole
from .columns import PROPOSAL_NUMBERS
from .plan import Plan
from .provenance import environment
from .runs import TIMINGS, Run, find_run, measured_runs
from .stages import Stages, open_run, single_images

IMAGES = 10
Timed = Tuple[Stages, List[dict]]  # a detector, and its images


def time_detectors(plan: Plan, work_dir: Path) -> None:
    """Write the times of every detector that is measured.

    The machine is the same, and whatever slows it down slows all alike: each
    image is given to the detectors one after the other, in random order.

    Args:
        plan (Plan): Names the detectors.
        work_dir (Path): Has their runs; one of each is timed.

    Raises:
        ValueError: If no detector is measured.
    """
    device = torch.device(get_device())
    timed: Dict[str, Timed] = {}
    for name, run in measured_runs(plan._replace(work_dir=work_dir)).items():
        timed[name] = _load(run)
    if not timed:
        raise ValueError(f'nothing in {work_dir} is measured yet')
    taken: Dict[Tuple[str, str, str], List[float]] = {}
    order = list(timed)
    for i in range(min(len(batches) for _, batches in timed.values())):
        random.Random(i).shuffle(order)
        for name in order:
            stages, batches = timed[name]
            # A GPU may not hold all detectors at once.
            stages.model.to(device)
            for (metric, at), ms in _time_image(stages, batches[i]).items():
                taken.setdefault((name, metric, at), []).append(ms)
            stages.model.to('cpu')
    rows = [
        [*key, float(np.median(ms)), _spread(ms), len(ms)]
        for key, ms in taken.items()
    ]
    content = dict(environment=environment(device), rows=rows)
    write_whole(work_dir / TIMINGS, json.dumps(content, indent=1))


def _spread(values: List[float]) -> float:
    """The interquartile range."""
    low, high = np.quantile(values, [0.25, 0.75])
    return float(high - low)


def _load(run: Run) -> Timed:
    """A run's detector, and its first images."""
    _, _, checkpoint, split = find_run(run.folder)
    _, loader, stages = open_run(run, checkpoint, split)
    stages.model.to('cpu')
    return stages, list(itertools.islice(single_images(loader), IMAGES))


@torch.no_grad()
def _time_image(stages: Stages, batch: dict) -> Dict[Tuple[str, str], float]:
    """Milliseconds by ``metric`` and ``at`` of columns.py."""

    def first_stage() -> None:
        stages.load(batch)
        stages.propose(stages.number)

    calls = {
        ('ms', ''): lambda: stages.run(batch),
        ('first_stage_ms', ''): first_stage,
    }
    if stages.roi_head:
        stages.load(batch)
        proposals = stages.propose(max(PROPOSAL_NUMBERS))
        for n in PROPOSAL_NUMBERS:
            best = proposals[:n]
            key = 'second_stage_ms', f'@{n}'
            calls[key] = lambda best=best: stages.detect(best)
    # It warms up, waits for a GPU, and would by itself use one thread.
    threads = torch.get_num_threads()
    return {
        key: 1000
        * Timer('call()', globals=dict(call=call), num_threads=threads)
        .timeit(1)
        .median
        for key, call in calls.items()
    }
