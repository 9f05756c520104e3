"""Assignment by IoU without the matrix of IoUs, for anchors on a grid.

An anchor matters only if its IoU with an object reaches the least of the
assigner's thresholds: :class:`GridOverlaps` finds those that do.

Shapes as in :mod:`..prior_generators.anchor_grid`, and
    G  objects of the batch, image after image
    P  pairs of an object and an anchor
"""

from typing import List, Optional, Tuple

import torch
from mmdet.models.task_modules.assigners import BboxOverlaps2D, MaxIoUAssigner
from torch import Tensor

from ..prior_generators import AnchorGrid, InsideCells, take
from .grid_overlaps import OBJECT_BITS, GridOverlaps, Pairs, iou_keys
from .grid_topk import BestAnchors, pairs_with_best_anchors
from .topk_max_iou_assigner import TopKMaxIoUAssigner

# Below it the windows are most of the map, and the matrix is no worse.
_LEAST_IOU = 0.1
# The bit of a key above those of :func:`iou_keys`.
_LOW_QUALITY = 1 << 62


def min_relevant_iou(assigner: MaxIoUAssigner) -> float:
    """The IoU below which the thresholds treat anchors as if it were 0."""
    low, high = _negative_range(assigner)
    least = min(assigner.pos_iou_thr, high)
    if low > 0:
        least = min(least, low)
    if assigner.match_low_quality:
        least = min(least, assigner.min_pos_iou)
    return least


def why_not_on_grid(assigner: object) -> Optional[str]:
    """Say why :func:`assign_on_grid` cannot stand in for an assigner.

    Returns:
        str | None: The reason, a clause about the assigner; None if it can.
    """
    if type(assigner) not in (MaxIoUAssigner, TopKMaxIoUAssigner):
        return f'{type(assigner).__name__} is not a MaxIoUAssigner'
    calculator = assigner.iou_calculator
    if type(calculator) is not BboxOverlaps2D or calculator.dtype is not None:
        return f'its iou_calculator is {calculator}'
    if assigner.perm_repeat_gt_cfg is not None:
        return 'its perm_repeat_gt_cfg is set'
    if not isinstance(assigner.neg_iou_thr, (float, tuple)):
        return f'its neg_iou_thr is {assigner.neg_iou_thr!r}'
    least = min_relevant_iou(assigner)
    least = min(least, getattr(assigner, 'topk_min_iou', least))
    if least < _LEAST_IOU:
        return f'its least threshold, {least}, is below {_LEAST_IOU}'
    return None


def assign_on_grid(
    assigner: MaxIoUAssigner,
    grid: AnchorGrid,
    batch_bboxes: List[Tensor],
    inside: Optional[InsideCells] = None,
) -> Optional[Tensor]:
    """Assign objects to the anchors of a batch, as the assigner would.

    Args:
        assigner (MaxIoUAssigner): One for which :func:`why_not_on_grid` gives
            no reason.
        grid (AnchorGrid): The anchors.
        batch_bboxes (list[Tensor]): (n, 4) objects of each image, float32, in
            input pixels.
        inside (InsideCells, optional): Which anchors may be assigned. All by
            default.

    Returns:
        Tensor | None: (N, R), in map order: 0 for a negative, -1 for an
        anchor to ignore, else the object's number, counted from 1 over the
        whole batch. None if an object's coordinates are not finite, or
        astronomic.
    """
    overlaps = GridOverlaps(
        assigner.iou_calculator, grid, batch_bboxes, inside
    )
    shape = (len(batch_bboxes), grid.num_anchors)
    gt_inds = overlaps.images.new_zeros(shape)
    if overlaps.num_objects:
        found = _find_pairs(assigner, overlaps)
        if found is None:
            return None
        gt_inds = _resolve(assigner, overlaps, *found).view(shape)
    if not all(map(len, batch_bboxes)):
        # Without objects all are negatives, whatever the thresholds.
        ids = torch.arange(len(batch_bboxes), device=gt_inds.device)
        has_objects = (ids[:, None] == overlaps.images).any(dim=1)
        gt_inds = gt_inds * has_objects[:, None]
    if inside is not None:
        gt_inds = gt_inds.masked_fill(~inside.mask(), -1)
    return gt_inds


def _find_pairs(
    assigner: MaxIoUAssigner, overlaps: GridOverlaps
) -> Optional[Tuple[Pairs, Tensor, Optional[BestAnchors]]]:
    """Pairs that matter and their IoUs, see :func:`_resolve`."""
    least = min_relevant_iou(assigner)
    if isinstance(assigner, TopKMaxIoUAssigner):
        return pairs_with_best_anchors(assigner, overlaps, least)
    windows = overlaps.windows(least)
    total = torch.where(overlaps.are_finite(), windows.numbers.sum(), -1)
    total = int(total)  # the only copy to the host
    if total < 0:
        return None
    pairs = overlaps.pairs_in(windows, total)
    return pairs, overlaps.ious(pairs), None


def _negative_range(assigner: MaxIoUAssigner) -> Tuple[float, float]:
    """IoUs [low, high) that make a negative."""
    thr = assigner.neg_iou_thr
    return thr if isinstance(thr, tuple) else (0.0, thr)


def _resolve(
    assigner: MaxIoUAssigner,
    grid_overlaps: GridOverlaps,
    pairs: Pairs,
    overlaps: Tensor,
    best: Optional[BestAnchors],
) -> Tensor:
    """Decide between the objects of each anchor, as the assigner does.

    Args:
        assigner (MaxIoUAssigner): Its thresholds and options.
        grid_overlaps (GridOverlaps): The objects and the grid.
        pairs (Pairs): P pairs.
        overlaps (Tensor): (P, ) their IoUs.
        best (BestAnchors, optional): Anchors that are positives whatever the
            thresholds.

    Returns:
        Tensor: (N * R, ), see :func:`assign_on_grid`.
    """
    objects, index = pairs.objects, pairs.index
    iou_key = key = iou_keys(overlaps, objects)
    if assigner.match_low_quality:
        # The best anchors of an object are its own whatever others claim, and
        # of such claims the last object's counts.
        is_forced = _is_best(assigner, grid_overlaps, pairs, overlaps)
        key = torch.where(is_forced, _LOW_QUALITY + objects, key)
    winners = key.new_zeros(grid_overlaps.num_anchors)
    winners = take(winners.scatter_reduce_(0, index, key, 'amax'), index)
    is_forced = winners >= _LOW_QUALITY
    number = winners & OBJECT_BITS
    number = 1 + torch.where(is_forced, number, OBJECT_BITS - number)
    best_iou = (winners >> 31 & OBJECT_BITS).int().view(torch.float32)
    pos_iou = assigner.pos_iou_thr
    if best is not None:
        pos_iou = take(best.ious.clamp(max=pos_iou), number - 1)
    is_pos = is_forced | (best_iou >= pos_iou)
    low, high = _negative_range(assigner)
    is_neg = best_iou < high
    if low > 0:
        is_neg = is_neg & (best_iou >= low)
    others = 0 if low <= 0 else -1
    # The last is written to in the place of none.
    gt_inds = index.new_full((grid_overlaps.num_anchors + 1,), others)
    gt_inds.scatter_(0, index, torch.where(is_pos, number, is_neg.long() - 1))
    if best is not None and best.num_rows:
        is_claimed = is_pos & (winners == iou_key)
        is_claimed &= best_iou < min_relevant_iou(assigner)
        lost = best.lost(grid_overlaps, pairs, iou_key, is_claimed)
        gt_inds.scatter_(0, lost, others)
    return gt_inds[:-1]


def _is_best(
    assigner: MaxIoUAssigner,
    grid_overlaps: GridOverlaps,
    pairs: Pairs,
    overlaps: Tensor,
) -> Tensor:
    """Which pairs (P, ) have the best IoU of their object, if that is enough.

    Arguments as of :func:`_resolve`.
    """
    objects = pairs.objects
    best = overlaps.new_zeros(grid_overlaps.num_objects)
    best = best.scatter_reduce_(0, objects, overlaps, 'amax')
    best = take(best, objects)
    is_best = (overlaps == best) & (best >= assigner.min_pos_iou)
    if not assigner.gt_max_assign_all:
        # Only the first of equally good ones, in mmdet's order.
        ranks = grid_overlaps.grid.mmdet_index(pairs.anchors)
        beyond = grid_overlaps.num_anchors
        first = ranks.new_full((grid_overlaps.num_objects,), beyond)
        ties = torch.where(is_best, ranks, beyond)
        first = first.scatter_reduce_(0, objects, ties, 'amin')[objects]
        is_best = is_best & (ranks == first)
    return is_best
