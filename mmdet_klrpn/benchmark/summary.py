"""What finished runs say of each pair."""

import gzip
import json
from concurrent.futures import Executor
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from .columns import AREAS, RECALL_NUMBERS
from .detection import evaluate, resampled_precisions
from .plan import Pair, Plan
from .quantities import PRECISIONS, QUANTITIES, RECALLS
from .recall import Recalls
from .runs import DETECTIONS, GROUND_TRUTH, METRICS, RECALLS_FILE, Run, runs_of
from .statistics import Difference, compare, count_samples, draw_samples

Resampled = Dict[str, np.ndarray]
# What must be the same of all runs that are compared, for their times to be.
_SAME_PLACE = ('device', 'threads', 'torch')


class Measured(NamedTuple):
    """A run and its metrics."""

    run: Run
    metrics: dict


class PairSummary(NamedTuple):
    """A pair's runs of the seeds that both detectors have.

    Attributes:
        pair (Pair): Names and configs.
        seeds (tuple[int]): The seeds.
        baseline (tuple[dict]): Metrics of the baseline by seed.
        kl_rpn (tuple[dict]): Metrics of KL-RPN by seed.
        differences (dict[str, Difference]): By the names of ``QUANTITIES``;
            a quantity that a run lacks is not in it.
        notes (tuple[str]): What a reader must know.
    """

    pair: Pair
    seeds: Tuple[int, ...]
    baseline: Tuple[dict, ...]
    kl_rpn: Tuple[dict, ...]
    differences: Dict[str, Difference]
    notes: Tuple[str, ...]

    @property
    def models(self) -> Tuple[Tuple[str, Tuple[dict, ...]], ...]:
        """Both models' names and metrics."""
        return ('RPN', self.baseline), ('KL-RPN', self.kl_rpn)


def summarize(
    plan: Plan,
    work_dirs: Sequence[Path],
    resamples: int,
    pool: Optional[Executor] = None,
) -> List[PairSummary]:
    """Compare each pair of a plan.

    Args:
        plan (Plan): Names the pairs.
        work_dirs (Sequence[Path]): Folders of runs.
        resamples (int): Of the test images; 0 for no interval over them.
        pool (Executor, optional): Where runs are resampled side by side.

    Raises:
        ValueError: If the runs of a pair were tested on other images or
            objects, or a seed is in two folders.
    """
    return [
        _summarize(pair, work_dirs, resamples, pool) for pair in plan.pairs
    ]


def measured_runs(
    work_dirs: Sequence[Path], config: Path
) -> Dict[int, Measured]:
    """Measured runs of a config, by seed."""
    found: Dict[int, Measured] = {}
    for work_dir in work_dirs:
        for run in runs_of(work_dir, config):
            if not run.measured:
                continue
            if run.seed in found:
                raise ValueError(
                    f'{run.name} is in both {found[run.seed].run.folder} '
                    f'and {run.folder}: leave one of the folders out'
                )
            metrics = json.loads((run.folder / METRICS).read_text())
            found[run.seed] = Measured(run, metrics)
    return found


def _summarize(
    pair: Pair,
    work_dirs: Sequence[Path],
    resamples: int,
    pool: Optional[Executor],
) -> PairSummary:
    runs = [measured_runs(work_dirs, config) for config in pair.configs]
    seeds = sorted(runs[0].keys() & runs[1].keys())
    both = [[found[seed] for seed in seeds] for found in runs]
    resampled = None
    if seeds:
        _check_ground_truth(pair, [m.run for side in both for m in side])
        if resamples:
            resampled = _resample(both, resamples, pool)
    baseline, kl_rpn = (tuple(m.metrics for m in side) for side in both)
    return PairSummary(
        pair,
        tuple(seeds),
        baseline,
        kl_rpn,
        _differences(baseline, kl_rpn, resampled) if seeds else {},
        tuple(_notes(runs, seeds, baseline + kl_rpn)),
    )


def _differences(
    baseline: Sequence[dict],
    kl_rpn: Sequence[dict],
    resampled: Optional[Tuple[Resampled, Resampled]],
) -> Dict[str, Difference]:
    found = {}
    for quantity in QUANTITIES:
        values = [
            list(map(quantity.read, side)) for side in (baseline, kl_rpn)
        ]
        if None in values[0] + values[1]:
            continue
        drawn = None
        if resampled is not None and quantity.kind != 'cost':
            drawn = resampled[0][quantity.name], resampled[1][quantity.name]
        found[quantity.name] = compare(*values, drawn)
    return found


def _resample(
    both: Sequence[Sequence[Measured]],
    resamples: int,
    pool: Optional[Executor],
) -> Tuple[Resampled, Resampled]:
    """Values of both models, (S, R) of each quantity that has them."""
    apply = map if pool is None else pool.map
    folders = [m.run.folder for side in both for m in side]
    drawn = list(apply(resample_run, folders, [resamples] * len(folders)))
    half = len(both[0])
    first, second = (
        {name: np.stack([run[name] for run in side]) for name in side[0]}
        for side in (drawn[:half], drawn[half:])
    )
    return first, second


def resample_run(folder: Path, resamples: int) -> Resampled:
    """AP and AR of a run had other test images been drawn, (R, ) of each.

    Args:
        folder (Path): Of a measured run.
        resamples (int): How many.
    """
    coco_eval = evaluate(
        read_gzip(folder / GROUND_TRUTH), read_gzip(folder / DETECTIONS)
    )
    samples = draw_samples(len(coco_eval.params.imgIds), resamples)
    precisions = resampled_precisions(coco_eval, samples)
    with np.load(folder / RECALLS_FILE) as file:
        recalls = Recalls(file['found'], file['objects'])
    # (R, areas, numbers), means over IoU thresholds
    recall = recalls.of(count_samples(samples)).mean(axis=-1)
    by_number = [recall[:, 0, i] for i in range(len(RECALL_NUMBERS))]
    by_area = [recall[:, i, -1] for i in range(1, len(AREAS))]
    names = [quantity.name for quantity in PRECISIONS + RECALLS]
    return dict(zip(names, [*precisions.T, *by_number, *by_area]))


def _check_ground_truth(pair: Pair, runs: Sequence[Run]) -> None:
    truths = [(run.folder / GROUND_TRUTH).read_bytes() for run in runs]
    for run, truth in zip(runs, truths):
        if truth != truths[0]:
            raise ValueError(
                f'{pair.name}: {run.folder} was tested on other objects than '
                f'{runs[0].folder}; measure both on the same annotations'
            )


def _notes(
    runs: Sequence[Dict[int, Measured]],
    seeds: Sequence[int],
    used: Sequence[dict],
) -> List[str]:
    """What a reader must know of the runs of a pair."""
    notes = []
    if not seeds:
        notes.append('No seed of both detectors has been measured.')
    for name, found in zip(('RPN', 'KL-RPN'), runs):
        alone = sorted(found.keys() - set(seeds))
        if alone:
            listed = ', '.join(map(str, alone))
            notes.append(f'Left out, as of {name} alone: seed {listed}.')
    if len(seeds) == 1:
        notes.append('One seed: there is no interval over seeds.')
    for key in _SAME_PLACE:
        values = sorted({str(m['environment'][key]) for m in used})
        if len(values) > 1:
            notes.append(
                f'Measured with several values of {key}, so that times do '
                f'not compare: {", ".join(values)}.'
            )
    processes = sorted({str(m['training']['processes']) for m in used})
    if len(processes) > 1:
        notes.append(
            'Trained with several numbers of processes, and so of images a '
            f'step: {", ".join(processes)}.'
        )
    return notes


def read_gzip(path: Path) -> object:
    """Read compressed JSON."""
    return json.loads(gzip.decompress(path.read_bytes()))
