"""What finished runs say: one frame of values, one of differences."""

import gzip
import itertools
import json
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import pandas as pd
from mmengine.config import Config

from .bootstrap import Name, resample
from .columns import COLUMNS
from .configs import STARTED_WITH, differences
from .plan import Detector, Plan
from .runs import GROUND_TRUTH, MATCHES, METRICS, TIMINGS, run_of
from .statistics import LEVEL, NO_INTERVAL, bootstrap, holm, welch

# How a run was started, besides what no config of a plan says.
_STARTED_WITH = (
    *STARTED_WITH,
    *('load_from', 'randomness', 'auto_scale_lr.enable'),
)
# What must be the same of all runs for their costs to compare.
_SAME_PLACE = ('device', 'threads', 'torch')
Runs = Dict[str, List[dict]]  # metrics of the runs, by detector's name


class Results(NamedTuple):
    """All that a report is made from.

    ``comparisons`` has a row for each comparison and metric: ``first``,
    ``second``, ``metric``, ``at``, ``difference`` (second minus first),
    ``seeds_low``, ``seeds_high``, ``images_low``, ``images_high``, ``p``,
    ``p_holm``, ``significant``, ``seeds_first``, ``seeds_second``.
    """

    plan: Plan
    frame: pd.DataFrame  # every value, with columns.COLUMNS
    comparisons: pd.DataFrame
    runs: Runs  # each with its folder
    notes: Tuple[str, ...]  # what a reader must know


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
        jobs (int, optional): Processes; one for each core by default.

    Raises:
        ValueError: If nothing is measured, a seed is in two folders, or runs
            do not belong together.
    """
    runs = {d.name: _measured_runs(d, plan, work_dirs) for d in plan.detectors}
    _check_ground_truth(runs)
    files = [folder / TIMINGS for folder in work_dirs]
    timings = [json.loads(f.read_text()) for f in files if f.is_file()]
    frame = pd.DataFrame(_rows(runs, timings), columns=COLUMNS)
    frame['value'] = frame['value'].astype(float)
    resampled = _resample(runs, resamples, jobs) if resamples else {}
    comparisons = _compare(plan, frame, resampled)
    notes = tuple(_notes(plan, runs, timings))
    return Results(plan, frame, comparisons, runs, notes)


def _measured_runs(
    detector: Detector, plan: Plan, work_dirs: Sequence[Path]
) -> List[dict]:
    """Metrics of a detector's measured runs, in order of seed."""
    found: Dict[int, dict] = {}
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
                    f'{detector.name}, seed {run["seed"]} is in '
                    f'{other["folder"]} and {run["folder"]}: leave one of the '
                    'folders out'
                )
    runs = [found[seed] for seed in sorted(found)]
    for run in runs[1:]:
        texts = runs[0]['resolved_config'], run['resolved_config']
        configs = [Config.fromstring(text, '.py') for text in {*texts}]
        other = len(configs) > 1 and differences(*configs, _STARTED_WITH)
        if other:
            raise ValueError(
                f'{runs[0]["folder"]} and {run["folder"]} are both of '
                f'{detector.name}, but of different configs: {other[0]}; '
                'leave one out'
            )
    return runs


def _check_ground_truth(runs: Runs) -> None:
    folders = [Path(run['folder']) for own in runs.values() for run in own]
    if not folders:
        raise ValueError('nothing is measured: run the plan first')
    # Other hosts may compress the same otherwise.
    paths = [folder / GROUND_TRUTH for folder in folders]
    first = gzip.decompress(paths[0].read_bytes())
    for folder, path in zip(folders, paths):
        if gzip.decompress(path.read_bytes()) != first:
            raise ValueError(
                f'{folders[0]} and {folder} were measured on other images or '
                'objects: measure one of them again'
            )


def _rows(runs: Runs, timings: List[dict]) -> List[list]:
    """Rows of the frame; of several times of a detector the first."""
    rows = [
        [name, run['seed'], *row]
        for name, own in runs.items()
        for run in own
        for row in run['rows']
    ]
    timed: Dict[str, int] = {}
    for i, timing in enumerate(timings):
        for name, metric, at, value, *_, n in timing['rows']:
            if runs.get(name) and timed.setdefault(name, i) == i:
                seed = runs[name][0]['seed']
                rows.append([name, seed, metric, at, value, n])
    return rows


def _resample(
    runs: Runs, resamples: int, jobs: Optional[int]
) -> Dict[str, Dict[Name, np.ndarray]]:
    """Means over seeds of each detector, (R, ) by metric."""
    paths = [
        Path(run['folder'], MATCHES) for own in runs.values() for run in own
    ]
    with ProcessPoolExecutor(jobs) as pool:
        drawn = pool.map(resample, paths, [resamples] * len(paths))
        means = {}
        for name, own in runs.items():
            found = list(itertools.islice(drawn, len(own)))
            means[name] = {
                key: np.mean([each[key] for each in found], axis=0)
                for key in (found[0] if found else ())
            }
    return means


def _compare(
    plan: Plan,
    frame: pd.DataFrame,
    resampled: Dict[str, Dict[Name, np.ndarray]],
) -> pd.DataFrame:
    """A row for each comparison and metric that both have."""
    keys, rows = ['metric', 'at'], []
    values = {
        name: own.groupby(keys, sort=False)['value'].agg(list)
        for name, own in frame.groupby('detector')
    }
    for pair in plan.pairs:
        both = [values[name] for name in pair if name in values]
        if len(both) < 2:
            continue
        both = pd.concat(both, axis=1, join='inner')
        for key, (one, two) in zip(both.index, both.to_numpy()):
            drawn = [resampled.get(n, {}).get(key) for n in pair]
            *seeds, p_seeds = welch(one, two)
            *images, p_images = (
                NO_INTERVAL if drawn[0] is None else bootstrap(*drawn)
            )
            # A claim must hold for other seeds and other images.
            p = float(np.maximum(p_seeds, p_images))
            difference = float(np.mean(two) - np.mean(one))
            numbers = len(one), len(two)
            ends = *seeds, *images
            rows.append([*pair, *key, difference, *ends, p, *numbers])
    names = 'first second metric at difference seeds_low seeds_high images_low'
    names += ' images_high p seeds_first seeds_second'
    found = pd.DataFrame(rows, columns=names.split())
    primary = found['metric'] + found['at'] == plan.metric
    found['p_holm'] = np.where(primary, 0.0, np.nan)
    found.loc[primary, 'p_holm'] = holm(found.loc[primary, 'p'])
    found['significant'] = found['p_holm'] < 1 - LEVEL
    return found


def _notes(plan: Plan, runs: Runs, timings: List[dict]) -> Iterator[str]:
    for detector in plan.detectors:
        wanted, there = len(plan.seeds_of(detector)), len(runs[detector.name])
        if there != wanted:
            text = f'{there} seeds measured, but the plan asks for {wanted}'
            yield f'{detector.name}: {text}.'
    every = [run for own in runs.values() for run in own]
    for key in _SAME_PLACE:
        found = {str(run['environment'][key]) for run in every}
        timed = {str(t['environment'][key]) for t in timings} - found
        text = ', '.join(sorted(found))
        if len(found) > 1:
            yield f'Measured with several values of {key}: {text}.'
        if timed:
            other = ', '.join(sorted(timed))
            yield f'Timed with {key} {other}, but measured with {text}.'
    counts = {str(run['training']['processes']) for run in every} - {'None'}
    if len(counts) > 1:
        yield (
            'Trained with several numbers of processes, and so of images a '
            f'step: {", ".join(sorted(counts))}.'
        )
