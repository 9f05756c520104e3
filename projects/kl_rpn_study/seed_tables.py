"""Differences of means over seeds, and tables of them in Markdown."""

from typing import Sequence, Tuple

import numpy as np
import pandas as pd
from mmengine.config import Config
from scipy import stats

DASH = '\N{EN DASH}'


def welch(
    first: Sequence[float], second: Sequence[float]
) -> Tuple[float, float]:
    """Welch's 95% interval of the second mean minus the first."""
    samples = [np.asarray(values, dtype=float) for values in (first, second)]
    if min(map(len, samples)) < 2:
        return float('nan'), float('nan')
    difference = samples[1].mean() - samples[0].mean()
    squares = [values.var(ddof=1) / len(values) for values in samples]
    if not any(squares):
        return difference, difference
    # Welch-Satterthwaite equation.
    freedom = sum(squares) ** 2 / sum(
        square**2 / (len(values) - 1)
        for square, values in zip(squares, samples)
    )
    half = stats.t.ppf(0.975, freedom) * np.sqrt(sum(squares))
    return difference - half, difference + half


def show_difference(first: Sequence[float], second: Sequence[float]) -> str:
    """Second mean minus first as '+1.2 ± 0.3', bold if that excludes 0."""
    low, high, *_ = welch(first, second)
    shown = f'{np.mean(second) - np.mean(first):+.1f}'
    if np.isnan(low):
        return shown
    if low > 0 or high < 0:
        shown = f'**{shown}**'
    return f'{shown} ± {(high - low) / 2:.1f}'


def markdown(frame: pd.DataFrame) -> str:
    """A table of Markdown, whose first column is the frame's index."""
    rows = [['', *frame.columns], ['---', *['---:'] * len(frame.columns)]]
    rows += [[name, *row] for name, row in zip(frame.index, frame.to_numpy())]
    return '\n'.join('| ' + ' | '.join(map(str, row)) + ' |' for row in rows)


def with_split(config: Config, split: str) -> Config:
    """A copy of a config whose test data are those of 'test' or 'val'."""
    config = config.copy()
    for name in ('dataloader', 'evaluator'):
        config[f'test_{name}'] = config[f'{split}_{name}']
    return config
