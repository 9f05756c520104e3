"""Rates of objects, such as their recall, by class and by size."""

from typing import Sequence

import numpy as np
import pandas as pd

from mmdet_klrpn.benchmark.recall import ObjectRanks

ALL, CLASS_MEAN, CLASS = 'all', 'class mean', 'class: '
QUARTERS = ('Q1', 'Q2', 'Q3', 'Q4')
RECALL_NUMBERS = (10, 30, 100, 300)


def size_edges(sizes: np.ndarray) -> np.ndarray:
    """Quartiles, (3, ), of sizes: square roots of the boxes' areas, (k, ).

    Raises:
        ValueError: If there is no object.
    """
    if not len(sizes):
        raise ValueError('the images to measure on have no object')
    return np.quantile(sizes, (0.25, 0.5, 0.75))


def group_rates(
    part: np.ndarray,
    whole: np.ndarray,
    classes: Sequence[str],
    sizes: np.ndarray,
    edges: np.ndarray,
) -> pd.DataFrame:
    """Sum of ``part`` over the sum of ``whole``, by group of objects.

    Args:
        part (np.ndarray): (k, ) one value of each object.
        whole (np.ndarray): (k, ) likewise.
        classes (Sequence[str]): Name of each object's class.
        sizes (np.ndarray): (k, ) sizes as in :func:`size_edges`.
        edges (np.ndarray): (3, ) edges of the quarters; an object of the size
            of an edge belongs to the quarter below it.

    Returns:
        pd.DataFrame: ``group``, ``value`` and ``n``, the number of objects.
        Groups are all objects, the mean over classes (if there are two or
        more), each class and each quarter with an object. A value is NaN
        where the whole is 0.
    """
    table = pd.DataFrame(dict(part=part, whole=whole, n=1), dtype=float)

    def rates(keys: Sequence[str]) -> pd.DataFrame:
        sums = table.groupby(np.asarray(keys)).sum()
        return sums.assign(value=sums['part'] / sums['whole'])

    found = [rates([ALL] * len(table))]
    by_class = rates([f'{CLASS}{name}' for name in classes])
    if len(by_class) > 1:
        mean = dict(value=by_class['value'].mean(skipna=False), n=len(table))
        found += [pd.DataFrame(mean, index=[CLASS_MEAN]), by_class]
    found.append(rates(np.array(QUARTERS)[np.searchsorted(edges, sizes)]))
    frame = pd.concat(found).rename_axis('group').reset_index()
    return frame[['group', 'value', 'n']]


def recall_rates(objects: ObjectRanks, edges: np.ndarray) -> pd.DataFrame:
    """AR@10 to AR@300 as ``metric``, with the columns of group_rates."""
    groups = objects.classes, objects.sizes, edges
    return pd.concat(
        group_rates(
            (objects.ranks < number).mean(axis=1),
            np.ones(len(objects.sizes)),
            *groups,
        ).assign(metric=f'AR@{number}')
        for number in RECALL_NUMBERS
    )
