"""Links 1 to 3: which proposals are where in the ranking.

Rank 1 is the best proposal of an image. An object that no proposal finds has
the rank infinity.
"""

import contextlib
import io
from typing import Dict, List, NamedTuple, Sequence

import numpy as np
from mmdet.evaluation import bbox_overlaps

from mmdet_klrpn.evaluation.functional.matching import (
    IGNORED,
    NO_OBJECT,
    match_proposals,
)

from ..recall import NOT_FOUND, rank_objects
from .groups import Groups, Row
from .objects import CocoObjects

RECALL_NUMBERS = (10, 30, 100, 300)
RANK_IOUS = (0.5, 0.7)
CLAIM_NUMBER = 100
CLAIM_IOU = 0.5


def matched_ranks(truth: CocoObjects, predictions: List[dict]) -> np.ndarray:
    """Ranks of the proposals that COCO's recall gives to objects.

    By :func:`rank_objects`, whatever the category: the best proposal
    takes the free object that it overlaps most, then the next one, at each
    IoU from 0.5 to 0.95. The n best match alike whatever follows them, so that
    the share of ranks up to n is AR@n.

    Args:
        truth (CocoObjects): The k objects.
        predictions (list[dict]): Of each image ``img_id``, ``bboxes`` (n, 4)
            in pixels of the original image and ``scores`` (n, ), descending.

    Returns:
        np.ndarray: (k, T) rank at each IoU.
    """
    most = max([len(p['scores']) for p in predictions] + [1])
    with contextlib.redirect_stdout(io.StringIO()):
        found = rank_objects(truth.ground_truth, predictions, most)
    rows = {annotation: row for row, annotation in enumerate(truth.ids)}
    ranks = np.full((len(truth.ids), found.ranks.shape[1]), np.inf)
    for annotation, own in zip(found.ids, found.ranks):
        missed = own == NOT_FOUND
        ranks[rows[annotation]] = np.where(missed, np.inf, own + 1.0)
    return ranks


def recall_rows(ranks: np.ndarray, groups: Groups) -> Dict[str, Row]:
    """AR@n of groups, from :func:`matched_ranks`: link 1."""
    return {
        f'AR@{number}': groups.row(lambda own, n=number: _share(ranks[own], n))
        for number in RECALL_NUMBERS
    }


def _share(ranks: np.ndarray, number: int) -> float:
    return np.mean(ranks <= number)


def first_ranks(bboxes: np.ndarray, gt_bboxes: np.ndarray) -> np.ndarray:
    """Rank of the first proposal of an image on each object.

    Unlike in :func:`matched_ranks`, a proposal may be on several objects.

    Args:
        bboxes (np.ndarray): (n, 4) proposals by descending score.
        gt_bboxes (np.ndarray): (k, 4) objects.

    Returns:
        np.ndarray: (k, 2) rank at each IoU of ``RANK_IOUS``.
    """
    ranks = np.full((len(gt_bboxes), len(RANK_IOUS)), np.inf)
    if len(bboxes) and len(gt_bboxes):
        ious = bbox_overlaps(bboxes, gt_bboxes)
        for i, threshold in enumerate(RANK_IOUS):
            hits = ious >= threshold
            found = hits.any(axis=0)
            ranks[found, i] = 1 + hits.argmax(axis=0)[found]
    return ranks


def rank_rows(ranks: np.ndarray, groups: Groups) -> Dict[str, Row]:
    """Median of :func:`first_ranks` by group: link 2.

    None where half of the objects or more are never found.
    """
    return {
        f'median at IoU {iou}': groups.row(
            lambda own, i=i: np.median(ranks[own, i])
        )
        for i, iou in enumerate(RANK_IOUS)
    }


def missed_rows(ranks: np.ndarray, groups: Groups) -> Dict[str, Row]:
    """Share of objects that no proposal finds, by group: link 2."""
    return {
        f'never at IoU {iou}': groups.row(
            lambda own, i=i: np.isinf(ranks[own, i]).mean()
        )
        for i, iou in enumerate(RANK_IOUS)
    }


class Claims(NamedTuple):
    """What the best proposals of an image are on.

    A proposal is on the object, or ignored region, that
    :func:`match_proposals` says.

    Attributes:
        first (int): Proposals on an object that no better one is on.
        duplicate (int): On an object that a better one is on.
        nothing (int): On no object.
        ignored (int): On a crowd alone.
        by_object (np.ndarray): (k, ) duplicates on each object.
    """

    first: int
    duplicate: int
    nothing: int
    ignored: int
    by_object: np.ndarray


def claims(
    bboxes: np.ndarray, gt_bboxes: np.ndarray, crowds: np.ndarray
) -> Claims:
    """Sort an image's best ``CLAIM_NUMBER`` proposals: link 3.

    Args:
        bboxes (np.ndarray): (n, 4) proposals by descending score.
        gt_bboxes (np.ndarray): (k, 4) objects.
        crowds (np.ndarray): (m, 4) regions to ignore.
    """
    ignored = np.arange(len(gt_bboxes) + len(crowds)) >= len(gt_bboxes)
    owner = match_proposals(
        bboxes[:CLAIM_NUMBER],
        np.concatenate([gt_bboxes, crowds]),
        ignored,
        CLAIM_IOU,
    )
    count = np.bincount(owner[owner >= 0], minlength=len(gt_bboxes))
    first = int((count > 0).sum())
    return Claims(
        first=first,
        duplicate=int(count.sum()) - first,
        nothing=int((owner == NO_OBJECT).sum()),
        ignored=int((owner == IGNORED).sum()),
        by_object=np.maximum(count - 1, 0),
    )


def claim_rows(images: Sequence[Claims]) -> Dict[str, Row]:
    """Mean over images of what their best proposals are on."""
    names = {
        'first on an object': 'first',
        'duplicates': 'duplicate',
        'on no object': 'nothing',
        'on a crowd': 'ignored',
    }
    row = {
        name: float(np.mean([getattr(image, field) for image in images]))
        for name, field in names.items()
    }
    return {'of an image': row}


def duplicate_rows(counts: np.ndarray, groups: Groups) -> Dict[str, Row]:
    """Mean over objects of how many duplicates, (k, ), are on each."""
    return {'of an object': groups.row(lambda own: counts[own].mean())}
