"""Times of all detectors, taken in turns in one process."""

import itertools
import json
import random
from pathlib import Path
from typing import Dict, List, Tuple

import numpy as np
import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from torch.utils.benchmark import Timer

from ..apis import load_detector
from .columns import PROPOSAL_NUMBERS
from .plan import Plan
from .provenance import environment
from .runs import TIMINGS, Run, find_run, run_of
from .stages import Stages, single_images

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
    for detector in plan.detectors:
        runs = [run_of(work_dir, detector, s) for s in plan.seeds_of(detector)]
        for run in [run for run in runs if run.measured][:1]:
            timed[detector.name] = _load(run, device)
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
    part = work_dir / f'{TIMINGS}.part'
    part.write_text(json.dumps(content, indent=1))
    part.replace(work_dir / TIMINGS)


def _spread(values: List[float]) -> float:
    """The interquartile range."""
    low, high = np.quantile(values, [0.25, 0.75])
    return float(high - low)


def _load(run: Run, device: torch.device) -> Timed:
    """A run's detector, and its first images."""
    _, _, checkpoint, split = find_run(run.folder)
    config = Config.fromfile(run.config)
    init_default_scope(config.get('default_scope', 'mmdet'))
    loader = Runner.build_dataloader(dict(config[f'{split}_dataloader']))
    batches = list(itertools.islice(single_images(loader), IMAGES))
    stages = Stages(load_detector(config, checkpoint, device))
    stages.model.to('cpu')
    return stages, batches


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
