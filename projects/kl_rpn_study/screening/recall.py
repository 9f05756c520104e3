"""Recall of proposals, by class and by size of the objects."""

from typing import List

import numpy as np
import pandas as pd

from mmdet_klrpn.evaluation.functional import match_coco_proposals

ALL, CLASS_MEAN, CLASS = 'all', 'class mean', 'class: '
RECALL_NUMBERS = (10, 30, 100, 300)


def recall_rates(truth: dict, predictions: List[dict]) -> pd.DataFrame:
    """Match proposals with objects as ``ProposalMetric`` does.

    Args:
        truth (dict): COCO annotations.
        predictions (list[dict]): Of each image ``img_id``, ``bboxes`` (n, 4)
            in pixels of the image and ``scores`` (n, ), descending.

    Returns:
        pd.DataFrame: A ``value`` for each ``metric``, AR@10 to AR@300, and
        ``group`` of ``n`` objects. Groups are all objects, the mean over
        classes and each class (of two or more), and the quarters 'Q1' to 'Q4'
        of the objects by the areas of their boxes. An object of the area of
        an edge belongs to the quarter below it.

    Raises:
        ValueError: If there is no object.
    """
    matches = match_coco_proposals(
        truth, predictions, [max(RECALL_NUMBERS)], areas=('all',)
    )
    names = {c['id']: c['name'] for c in truth['categories']}
    classes, areas, rates = [], [], []
    for match in filter(None, matches.evalImgs):
        rank_of = {proposal: i for i, proposal in enumerate(match['dtIds'])}
        for i in np.flatnonzero(match['gtIgnore'] == 0):
            # The n best proposals have found what is of a rank below n.
            ids = match['gtMatches'][:, i]
            ranks = np.array([rank_of.get(x, np.inf) for x in ids])
            rates.append([(ranks < n).mean() for n in RECALL_NUMBERS])
            annotation = truth['annotations'][match['gtIds'][i] - 1]
            areas.append(np.prod(annotation['bbox'][2:]))
            classes.append(CLASS + names[annotation['category_id']])
    if not rates:
        raise ValueError('the images to measure on have no object')
    table = pd.DataFrame(rates, columns=[f'AR@{n}' for n in RECALL_NUMBERS])
    quarters = np.searchsorted(np.quantile(areas, (0.25, 0.5, 0.75)), areas)
    frames = []
    for groups in (
        np.full(len(table), ALL),
        np.array(classes),
        np.array(['Q1', 'Q2', 'Q3', 'Q4'])[quarters],
    ):
        grouped = table.groupby(groups)
        frames.append(grouped.mean().assign(n=grouped.size()))
    mean = frames[1].mean().to_frame(CLASS_MEAN).T.assign(n=len(table))
    frames[1:2] = [mean, frames[1]] if len(frames[1]) > 1 else []
    frame = pd.concat(frames).rename_axis('group').reset_index()
    return frame.melt(['group', 'n'], var_name='metric')
