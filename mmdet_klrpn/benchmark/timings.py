"""Times of all detectors, taken in turns in one process."""

import itertools
import json
import random
from functools import partial
from pathlib import Path
from typing import Dict, List, Tuple

import numpy as np
import torch
from mmengine.device import get_device
from torch.utils.benchmark import Timer

from ..utils.output_files import write_whole
from .columns import PROPOSAL_NUMBERS
from .cost import environment
from .plan import Plan
from .runs import TIMINGS, find_run, measured_runs
from .stages import Stages, open_run, single_images

IMAGES = 10


def time_detectors(plan: Plan, work_dir: Path) -> None:
    """Write the times of every detector that is measured.

    The machine is the same, and whatever slows it down slows all alike: each
    image is given to the detectors one after the other, in random order. One
    run of each is timed.

    Raises:
        ValueError: If no detector is measured.
    """
    device, timed = torch.device(get_device()), {}
    plan = plan._replace(work_dir=work_dir)
    for name, run in measured_runs(plan).items():
        _, _, checkpoint, split = find_run(run.folder)
        _, loader, stages = open_run(run, checkpoint, split)
        stages.model.to('cpu')
        batches = itertools.islice(single_images(loader), IMAGES)
        timed[name] = stages, list(batches)
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
    rows = [[*key, float(np.median(ms)), len(ms)] for key, ms in taken.items()]
    content = dict(environment=environment(device), rows=rows)
    write_whole(work_dir / TIMINGS, json.dumps(content, indent=1))


@torch.no_grad()
def _time_image(stages: Stages, batch: dict) -> Dict[Tuple[str, str], float]:
    """Milliseconds by ``metric`` and ``at`` of columns.py."""
    calls = {
        ('ms', ''): lambda: stages.run(batch),
        ('first_stage_ms', ''): lambda: (
            stages.load(batch),
            stages.propose(stages.number),
        ),
    }
    if stages.roi_head:
        stages.load(batch)
        proposals = stages.propose(max(PROPOSAL_NUMBERS))
        for n in PROPOSAL_NUMBERS:
            calls['second_stage_ms', f'@{n}'] = partial(
                stages.detect, proposals[:n]
            )
    # It warms up, waits for a GPU, and would by itself use one thread.
    threads = torch.get_num_threads()
    timers = {
        key: Timer('call()', globals=dict(call=call), num_threads=threads)
        for key, call in calls.items()
    }
    return {key: 1000 * t.timeit(1).median for key, t in timers.items()}
