"""What finished runs say: one frame of values, one of differences."""

import gzip
import json
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import pandas as pd
from mmengine.config import Config

from .bootstrap import Name, resample
from .columns import COLUMNS
from .configs import STARTED_WITH, differences
from .plan import Plan
from .runs import GROUND_TRUTH, MATCHES, METRICS, TIMINGS, run_of
from .statistics import LEVEL, NO_INTERVAL, bootstrap, holm, welch

# How a run was started, besides what no config of a plan says.
_STARTED_WITH = (
    *STARTED_WITH,
    *('load_from', 'randomness', 'auto_scale_lr.enable'),
)
# What must be the same of all runs for their costs to compare.
_SAME_PLACE = ('device', 'threads', 'torch')
Resampled = Dict[Name, np.ndarray]


class Results(NamedTuple):
    """All that a report is made from.

    Attributes:
        plan (Plan): Names detectors and comparisons.
        frame (pd.DataFrame): Every value, with ``columns.COLUMNS``.
        comparisons (pd.DataFrame): A row for each comparison and metric:
            ``first``, ``second``, ``metric``, ``at``, ``difference``
            (second minus first), ``seeds_low``, ``seeds_high``,
            ``images_low``, ``images_high``, ``p``, ``p_holm``,
            ``significant``, ``seeds_first``, ``seeds_second``.
        runs (dict[str, list[dict]]): By detector's name, the metrics of each
            measured run, and its ``folder``.
        notes (tuple[str]): What a reader must know.
    """

    plan: Plan
    frame: pd.DataFrame
    comparisons: pd.DataFrame
    runs: Dict[str, List[dict]]
    notes: Tuple[str, ...]


def load_results(
    plan: Plan,
    work_dirs: Sequence[Path],
    resamples: int,
    jobs: Optional[int] = None,
) -> Results:
    """Read and compare all that is measured.

    Args:
        plan (Plan): Names detectors and comparisons.
        work_dirs (Sequence[Path]): Folders of runs.
        resamples (int): Of the images; 0 for no interval over them.
        jobs (int, optional): Processes. Defaults to one for each core.

    Raises:
        ValueError: If nothing is measured, a seed is in two folders, or runs
            do not belong together.
    """
    runs = {
        detector.name: _measured_runs(plan, work_dirs, detector.name)
        for detector in plan.detectors
    }
    _check_ground_truth(runs)
    frame = pd.DataFrame(_rows(runs, work_dirs), columns=COLUMNS)
    frame['value'] = frame['value'].astype(float)
    resampled: Dict[str, Resampled] = {}
    if resamples:
        resampled = _resample(runs, resamples, jobs)
    comparisons = _compare(plan, frame, resampled)
    return Results(plan, frame, comparisons, runs, tuple(_notes(plan, runs)))


def _measured_runs(
    plan: Plan, work_dirs: Sequence[Path], name: str
) -> List[dict]:
    """Metrics of a detector's measured runs, in order of seed."""
    found: Dict[int, dict] = {}
    detector = plan.detector(name)
    for work_dir in work_dirs:
        folder = run_of(work_dir, detector, 0).folder.parent
        for path in folder.glob(f'seed*/{METRICS}'):
            run = dict(json.loads(path.read_text()), folder=str(path.parent))
            if run['split'] != plan.split:
                raise ValueError(
                    f'{path.parent} was measured on {run["split"]}, but the '
                    f"plan's split is {plan.split}: remove {METRICS} there "
                    'and run the plan, or report with the other split'
                )
            other = found.setdefault(run['seed'], run)
            if other is not run:
                raise ValueError(
                    f'{name}, seed {run["seed"]} is in {other["folder"]} and '
                    f'{run["folder"]}: leave one of the folders out'
                )
    runs = [found[seed] for seed in sorted(found)]
    for run in runs[1:]:
        texts = runs[0]['resolved_config'], run['resolved_config']
        if texts[0] == texts[1]:
            continue
        configs = (Config.fromstring(text, '.py') for text in texts)
        other = differences(*configs, _STARTED_WITH)
        if other:
            raise ValueError(
                f'{runs[0]["folder"]} and {run["folder"]} are both of {name}, '
                f'but of different configs: {other[0]}; leave one out'
            )
    return runs


def _check_ground_truth(runs: Dict[str, List[dict]]) -> None:
    folders = [Path(run['folder']) for own in runs.values() for run in own]
    if not folders:
        raise ValueError('nothing is measured: run the plan first')
    # Other hosts may compress the same otherwise.
    truths = (
        gzip.decompress((folder / GROUND_TRUTH).read_bytes())
        for folder in folders
    )
    first = next(truths)
    for folder, truth in zip(folders[1:], truths):
        if truth != first:
            raise ValueError(
                f'{folders[0]} and {folder} were measured on other images or '
                'objects: measure one of them again'
            )


def _rows(
    runs: Dict[str, List[dict]], work_dirs: Sequence[Path]
) -> List[list]:
    """Rows of the frame; of several times of a detector the first."""
    rows = [
        [name, run['seed'], *row]
        for name, own in runs.items()
        for run in own
        for row in run['rows']
    ]
    timed = set()
    for work_dir in work_dirs:
        path = work_dir / TIMINGS
        found = json.loads(path.read_text())['rows'] if path.is_file() else []
        new = [row for row in found if row[0] in runs and row[0] not in timed]
        for name, metric, at, median, _, n in new:
            seeds = [run['seed'] for run in runs[name]]
            rows.append([name, min(seeds, default=0), metric, at, median, n])
        timed.update(row[0] for row in new)
    return rows


def _resample(
    runs: Dict[str, List[dict]], resamples: int, jobs: Optional[int]
) -> Dict[str, Resampled]:
    """Means over seeds of each detector, (R, ) by metric."""
    named = [(name, run['folder']) for name in runs for run in runs[name]]
    paths = [Path(folder, MATCHES) for _, folder in named]
    with ProcessPoolExecutor(jobs) as pool:
        drawn = list(pool.map(resample, paths, [resamples] * len(paths)))
    means = {}
    for name in runs:
        own = [each for (n, _), each in zip(named, drawn) if n == name]
        means[name] = {
            key: np.mean([each[key] for each in own], axis=0)
            for key in (own[0] if own else ())
        }
    return means


def _compare(
    plan: Plan, frame: pd.DataFrame, resampled: Dict[str, Resampled]
) -> pd.DataFrame:
    """A row for each comparison and metric that both have."""
    values = {
        name: own.groupby(['metric', 'at'], sort=False)['value'].agg(list)
        for name, own in frame.groupby('detector')
    }
    rows = []
    for first, second, _ in plan.compare:
        if not values.keys() >= {first, second}:
            continue
        for key in values[first].index:
            if key not in values[second].index:
                continue
            one, two = values[first][key], values[second][key]
            drawn = [resampled.get(n, {}).get(key) for n in (first, second)]
            seeds = welch(one, two)
            images = NO_INTERVAL if drawn[0] is None else bootstrap(*drawn)
            rows.append(
                dict(
                    **dict(first=first, second=second),
                    **dict(metric=key[0], at=key[1]),
                    difference=float(np.mean(two) - np.mean(one)),
                    **dict(seeds_low=seeds[0], seeds_high=seeds[1]),
                    **dict(images_low=images[0], images_high=images[1]),
                    # A claim must hold for other seeds and other images.
                    p=float(np.maximum(seeds[2], images[2])),
                    **dict(seeds_first=len(one), seeds_second=len(two)),
                )
            )
    names = 'first second metric at difference seeds_low seeds_high images_low'
    names += ' images_high p seeds_first seeds_second'
    found = pd.DataFrame(rows, columns=names.split())
    primary = found['metric'] + found['at'] == plan.metric
    found['p_holm'] = np.where(primary, 0.0, np.nan)
    found.loc[primary, 'p_holm'] = holm(found.loc[primary, 'p'])
    found['significant'] = found['p_holm'] < 1 - LEVEL
    return found


def _notes(plan: Plan, runs: Dict[str, List[dict]]) -> List[str]:
    notes = []
    for detector in plan.detectors:
        wanted, there = len(plan.seeds_of(detector)), len(runs[detector.name])
        if there < wanted:
            notes.append(
                f'{detector.name}: {there} of {wanted} seeds measured.'
            )
    every = [run for own in runs.values() for run in own]
    for key in _SAME_PLACE:
        values = sorted({str(run['environment'][key]) for run in every})
        if len(values) > 1:
            notes.append(
                f'Measured with several values of {key}: {", ".join(values)}.'
            )
    counts = {str(run['training']['processes']) for run in every}
    counts = sorted(counts - {'None'})
    if len(counts) > 1:
        notes.append(
            'Trained with several numbers of processes, and so of images a '
            f'step: {", ".join(counts)}.'
        )
    return notes
