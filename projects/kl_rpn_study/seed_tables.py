"""Differences of means over seeds, and tables of them in Markdown."""

from typing import Sequence

import numpy as np
import pandas as pd
from mmengine.config import Config

from mmdet_klrpn.benchmark.statistics import welch
from mmdet_klrpn.benchmark.tables import Table


def show_difference(first: Sequence[float], second: Sequence[float]) -> str:
    """Second mean minus first as '+1.2 ± 0.3', bold if that excludes 0."""
    low, high, _ = welch(first, second)
    shown = f'{np.mean(second) - np.mean(first):+.1f}'
    if np.isnan(low):
        return shown
    if low > 0 or high < 0:
        shown = f'**{shown}**'
    return f'{shown} ± {(high - low) / 2:.1f}'


def markdown(frame: pd.DataFrame) -> str:
    """A table of Markdown, whose first column is the frame's index."""
    return Table('', '', frame.rename_axis('').reset_index()).markdown()


def with_split(config: Config, split: str) -> Config:
    """A copy of a config whose test data are those of 'test' or 'val'."""
    config = config.copy()
    for name in ('dataloader', 'evaluator'):
        config[f'test_{name}'] = config[f'{split}_{name}']
    return config
