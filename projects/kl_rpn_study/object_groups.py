"""Rates of objects, such as their recall, by class and by size."""

from typing import List, Sequence, Tuple

import numpy as np
import pandas as pd

from mmdet_klrpn.evaluation.functional import match_coco_proposals

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


def recall_rates(
    truth: dict, predictions: List[dict]
) -> Tuple[pd.DataFrame, np.ndarray, int]:
    """Match proposals with objects as ``ProposalMetric`` does.

    Args:
        truth (dict): COCO annotations.
        predictions (list[dict]): Of each image ``img_id``, ``bboxes`` (n, 4)
            in pixels of the image and ``scores`` (n, ), descending.

    Returns:
        tuple[pd.DataFrame, np.ndarray, int]: AR@10 to AR@300 as ``metric``,
        with the columns of :func:`group_rates`; the edges of the objects'
        sizes; and how many objects there are.
    """
    matches = match_coco_proposals(
        truth, predictions, [max(RECALL_NUMBERS)], areas=('all',)
    )
    names = {c['id']: c['name'] for c in truth['categories']}
    classes, sizes, rates = [], [], []
    for match in filter(None, matches.evalImgs):
        rank_of = {proposal: i for i, proposal in enumerate(match['dtIds'])}
        for i in np.flatnonzero(match['gtIgnore'] == 0):
            # The n best proposals have found what is of a rank below n.
            ids = match['gtMatches'][:, i]
            ranks = np.array([rank_of.get(x, np.inf) for x in ids])
            rates.append([(ranks < n).mean() for n in RECALL_NUMBERS])
            annotation = truth['annotations'][match['gtIds'][i] - 1]
            sizes.append(np.sqrt(np.prod(annotation['bbox'][2:])))
            classes.append(names[annotation['category_id']])
    edges = size_edges(np.array(sizes))
    groups = np.ones(len(sizes)), classes, sizes, edges
    frames = [
        group_rates(part, *groups).assign(metric=f'AR@{number}')
        for number, part in zip(RECALL_NUMBERS, np.transpose(rates))
    ]
    return pd.concat(frames), edges, len(sizes)
