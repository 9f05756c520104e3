"""Assignment by IoU without the matrix of IoUs, for anchors on a grid.

An anchor matters only if its IoU with an object reaches the least of the
assigner's thresholds: :class:`GridOverlaps` finds those that do.

Shapes as in :mod:`..prior_generators.anchor_grid`, and
    G  objects of the batch, image after image
    P  candidate pairs of an object and an anchor
"""

from typing import List, Optional, Tuple

import torch
from mmdet.models.task_modules.assigners import BboxOverlaps2D, MaxIoUAssigner
from torch import Tensor

from ..prior_generators.anchor_grid import AnchorGrid
from .grid_overlaps import GridOverlaps, Pairs
from .grid_topk import add_best_anchors
from .topk_max_iou_assigner import TopKMaxIoUAssigner

# Below it the windows are most of the map, and the matrix is no worse.
_LEAST_IOU = 0.1
# Keys of candidates: [low quality: 1][bits of the IoU: 31][object: 31].
_LOW_QUALITY = 1 << 62
_OBJECT = (1 << 31) - 1


def least_useful_iou(assigner: object) -> Optional[float]:
    """The IoU below which the assigner treats anchors as if it were 0.

    But for objects with fewer than ``topk`` anchors above it, of a
    :class:`TopKMaxIoUAssigner`.

    Args:
        assigner (object): As built from ``train_cfg``.

    Returns:
        float | None: None if :func:`assign_on_grid` cannot stand in for this
        assigner: another type or calculator, permuted objects, or thresholds
        that every anchor reaches.
    """
    if (
        type(assigner) not in (MaxIoUAssigner, TopKMaxIoUAssigner)
        or type(assigner.iou_calculator) is not BboxOverlaps2D
        or assigner.iou_calculator.dtype is not None
        or assigner.perm_repeat_gt_cfg is not None
        or not isinstance(assigner.neg_iou_thr, (float, tuple))
    ):
        return None
    low, high = _negative_range(assigner)
    least = min(assigner.pos_iou_thr, high)
    if low > 0:
        least = min(least, low)
    if assigner.match_low_quality:
        least = min(least, assigner.min_pos_iou)
    if getattr(assigner, 'topk_min_iou', least) < _LEAST_IOU:
        return None
    return least if least >= _LEAST_IOU else None


def assign_on_grid(
    assigner: MaxIoUAssigner,
    grid: AnchorGrid,
    batch_bboxes: List[Tensor],
    inside: Optional[Tensor] = None,
) -> Optional[Tensor]:
    """Assign objects to the anchors of a batch, as the assigner would.

    Args:
        assigner (MaxIoUAssigner): One with a :func:`least_useful_iou`.
        grid (AnchorGrid): The anchors.
        batch_bboxes (list[Tensor]): (n, 4) objects of each image, float32, in
            input pixels.
        inside (Tensor, optional): (N, R), which anchors may be assigned. All
            by default.

    Returns:
        Tensor | None: (N, R): 0 for a negative, -1 for an anchor to ignore,
        else the object's number, counted from 1 over the whole batch. None if
        an object's coordinates are not finite, or astronomic.
    """
    least = least_useful_iou(assigner)
    grid_overlaps = GridOverlaps(
        assigner.iou_calculator, grid, batch_bboxes, inside
    )
    pairs = grid_overlaps.within(grid_overlaps.windows(least))
    if pairs is None:
        return None
    topk_ious = None
    if isinstance(assigner, TopKMaxIoUAssigner):
        pairs, topk_ious = add_best_anchors(
            assigner, grid_overlaps, pairs, least
        )
    gt_inds = _resolve(
        assigner,
        pairs,
        grid_overlaps.num_objects,
        grid_overlaps.num_anchors,
        topk_ious,
    )
    gt_inds = gt_inds.view(len(batch_bboxes), -1)
    for assigned, bboxes in zip(gt_inds, batch_bboxes):
        if len(bboxes) == 0:  # negatives all, whatever the thresholds
            assigned.zero_()
    return gt_inds if inside is None else gt_inds.masked_fill_(~inside, -1)


def _negative_range(assigner: MaxIoUAssigner) -> Tuple[float, float]:
    """IoUs [low, high) that make a negative."""
    thr = assigner.neg_iou_thr
    return thr if isinstance(thr, tuple) else (0.0, thr)


def _resolve(
    assigner: MaxIoUAssigner,
    pairs: Pairs,
    num_objects: int,
    num_anchors: int,
    topk_ious: Optional[Tensor] = None,
) -> Tensor:
    """Decide between the candidates of each anchor, as the assigner does.

    Args:
        assigner (MaxIoUAssigner): Its thresholds and options.
        pairs (Pairs): P candidates.
        num_objects (int): G.
        num_anchors (int): N * R.
        topk_ious (Tensor, optional): (G, ), above which an object's anchors
            are positives whatever the thresholds.

    Returns:
        Tensor: (N * R, ), see :func:`assign_on_grid`.
    """
    overlaps, objects, index = pairs
    # The largest key wins an anchor: the best IoU, and of equal ones the first
    # object. The bits of floats >= 0 are ordered as the floats are.
    keys = overlaps.view(torch.int32).long() << 31 | (_OBJECT - objects)
    if assigner.match_low_quality:
        # The best anchors of an object are its own whatever others claim, and
        # of such claims the last object's counts.
        best = _best_anchors(assigner, pairs, num_objects, num_anchors)
        keys = torch.where(best, _LOW_QUALITY + objects, keys)
    winners = keys.new_zeros(num_anchors)
    winners = winners.scatter_reduce_(0, index, keys, 'amax')[index]
    forced = winners >= _LOW_QUALITY
    number = 1 + torch.where(
        forced, winners - _LOW_QUALITY, _OBJECT - (winners & _OBJECT)
    )
    best_iou = (winners >> 31 & _OBJECT).int().view(torch.float32)
    low, high = _negative_range(assigner)
    is_neg = (best_iou >= low) & (best_iou < high)
    is_pos = forced | (best_iou >= assigner.pos_iou_thr)
    if topk_ious is not None:
        is_pos = is_pos | (best_iou >= topk_ious[number - 1])
    values = torch.where(is_pos, number, is_neg.long() - 1)
    gt_inds = index.new_full((num_anchors,), 0 if low <= 0 else -1)
    return gt_inds.scatter_(0, index, values)


def _best_anchors(
    assigner: MaxIoUAssigner,
    pairs: Pairs,
    num_objects: int,
    num_anchors: int,
) -> Tensor:
    """Which pairs (P, ) have the best IoU of their object, if that is enough.

    Arguments as of :func:`_resolve`.
    """
    overlaps, objects, index = pairs
    best = overlaps.new_zeros(num_objects)
    best = best.scatter_reduce_(0, objects, overlaps, 'amax')[objects]
    is_best = (overlaps == best) & (best >= assigner.min_pos_iou)
    if not assigner.gt_max_assign_all:
        ties = torch.where(is_best, index, num_anchors)
        first = index.new_full((num_objects,), num_anchors)
        first = first.scatter_reduce_(0, objects, ties, 'amin')[objects]
        is_best = is_best & (index == first)
    return is_best
