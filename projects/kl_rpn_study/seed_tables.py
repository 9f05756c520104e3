"""Means over seeds, their differences, and tables of both."""

from typing import Sequence, Tuple

import numpy as np
import pandas as pd
from mmengine.config import Config
from scipy import stats

DASH = '\N{EN DASH}'


def welch(
    first: Sequence[float], second: Sequence[float]
) -> Tuple[float, float]:
    """Mean of the second minus mean of the first, by Welch's method.

    Args:
        first (Sequence[float]): Values over seeds.
        second (Sequence[float]): Likewise; the seeds need not be the same.

    Returns:
        tuple[float, float]: The difference, and half the width of its 95%
        interval, which is NaN with fewer than two seeds of either.
    """
    samples = [np.asarray(values, dtype=float) for values in (first, second)]
    difference = float(samples[1].mean() - samples[0].mean())
    if min(map(len, samples)) < 2:
        return difference, float('nan')
    errors = np.array([values.var(ddof=1) / len(values) for values in samples])
    if not errors.any():
        return difference, 0.0
    # Welch-Satterthwaite equation.
    freedoms = [len(values) - 1 for values in samples]
    freedom = errors.sum() ** 2 / (errors**2 / freedoms).sum()
    half = stats.t.ppf(0.975, freedom) * np.sqrt(errors.sum())
    return difference, float(half)


def show_difference(
    first: Sequence[float], second: Sequence[float], digits: int = 1
) -> str:
    """A difference as '+1.2 ± 0.3', in bold if the interval excludes 0."""
    difference, half = welch(first, second)
    shown = f'{difference:+.{digits}f}'
    if np.isnan(half):
        return shown
    if abs(difference) > half:
        shown = f'**{shown}**'
    return f'{shown} ± {half:.{digits}f}'


def markdown(frame: pd.DataFrame) -> str:
    """A table of Markdown, whose first column is the frame's index."""
    rows = [
        ['', *frame.columns],
        ['---', *['---:'] * len(frame.columns)],
        *([name, *row] for name, row in zip(frame.index, frame.to_numpy())),
    ]
    return '\n'.join('| ' + ' | '.join(map(str, row)) + ' |' for row in rows)


def with_split(config: Config, split: str) -> Config:
    """A copy of a config whose test data are those of a split.

    Args:
        config (Config): The config; it is left as it is.
        split (str): 'test' or 'val'.
    """
    config = config.copy()
    for name in ('dataloader', 'evaluator'):
        config[f'test_{name}'] = config[f'{split}_{name}']
    return config
