"""Assignment by IoU without the matrix of IoUs, for anchors on a grid.

An anchor matters only if its IoU with an object reaches the least of the
assigner's thresholds: :class:`ObjectWindows` tells where those lie that do.

Shapes as in :mod:`..prior_generators.anchor_grid`, and
    G  objects of the batch, image after image
    P  pairs of an object and an anchor
"""

from typing import List, Optional, Tuple

import torch
from mmdet.models.task_modules.assigners import BboxOverlaps2D, MaxIoUAssigner
from torch import Tensor

from ..prior_generators import AnchorGrid, InsideCells, areas, take
from .grid_overlaps import MOST, GridOverlaps, Pairs, ious, largest
from .grid_topk import BestAnchors, pairs_with_best_anchors
from .grid_windows import NO_IOU, ObjectWindows
from .topk_max_iou_assigner import TopKMaxIoUAssigner

# Below it the windows are most of the map, and the matrix is no worse.
_LEAST_IOU = 0.1
# Up to so many pairs of objects and anchors, the matrix is no slower on a CPU:
# with MaxIoUAssigner to 2 ** 16, with TopKMaxIoUAssigner to 2 ** 17.
_FEW_PAIRS = 1 << 16
# A key below those of all IoUs.
_LOW_QUALITY = -(1 << 62)


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
    if _is_small(assigner, grid, batch_bboxes):
        gt_inds = _assign_by_matrix(assigner, grid, batch_bboxes[0], inside)
    else:
        gt_inds = _assign_by_windows(assigner, grid, batch_bboxes, inside)
    if gt_inds is not None and inside is not None:
        gt_inds = gt_inds.masked_fill(~inside.mask(), -1)
    return gt_inds


def _is_small(
    assigner: MaxIoUAssigner, grid: AnchorGrid, batch_bboxes: List[Tensor]
) -> bool:
    """Whether the matrix of all pairs is the faster way."""
    ties = assigner.match_low_quality and not assigner.gt_max_assign_all
    number = len(batch_bboxes[0]) * grid.num_anchors
    return len(batch_bboxes) == 1 and 0 < number <= _FEW_PAIRS and not ties


def _assign_by_matrix(
    assigner: MaxIoUAssigner,
    grid: AnchorGrid,
    boxes: Tensor,
    inside: Optional[InsideCells],
) -> Optional[Tensor]:
    """:func:`assign_on_grid` of an image that :func:`_is_small`, (1, R)."""
    if not largest(boxes).item() < MOST:
        return None
    low, high = boxes[..., None].split(2, dim=1)
    grid_low, grid_high = grid.columns.split(2)
    low, high = torch.max(low, grid_low), torch.min(high, grid_high)
    overlaps = ious(low, high, areas(boxes)[:, None] + grid.areas, dim=1)
    if inside is not None:
        overlaps = overlaps * inside.mask()
    best, objects = overlaps.max(dim=0)
    pos_iou = assigner.pos_iou_thr
    if isinstance(assigner, TopKMaxIoUAssigner):
        pos_iou = assigner.least_of_best(overlaps).clamp(max=pos_iou)
        pos_iou = take(pos_iou, objects)
    gt_inds = torch.where(_is_negative(assigner, best), 0, -1)
    gt_inds = torch.where(best >= pos_iou, objects + 1, gt_inds)
    if assigner.match_low_quality:
        most = overlaps.amax(dim=1, keepdim=True)
        is_forced = (overlaps == most) & (most >= assigner.min_pos_iou)
        numbers = torch.arange(1, len(boxes) + 1, device=boxes.device)
        forced = (is_forced * numbers[:, None]).amax(dim=0)
        gt_inds = torch.where(forced > 0, forced, gt_inds)
    return gt_inds[None]


def _assign_by_windows(
    assigner: MaxIoUAssigner,
    grid: AnchorGrid,
    batch_bboxes: List[Tensor],
    inside: Optional[InsideCells],
) -> Optional[Tensor]:
    """:func:`assign_on_grid` by the pairs that matter."""
    overlaps = GridOverlaps(grid, batch_bboxes)
    shape = (len(batch_bboxes), grid.num_anchors)
    if not overlaps.num_objects:
        return overlaps.images.new_zeros(shape)
    windows = ObjectWindows(grid, overlaps.boxes, overlaps.images, inside)
    found = _find_pairs(assigner, overlaps, windows)
    if found is None:
        return None
    gt_inds = _resolve(assigner, overlaps, *found).view(shape)
    if not all(map(len, batch_bboxes)):
        # Without objects all are negatives, whatever the thresholds.
        ids = torch.arange(len(batch_bboxes), device=gt_inds.device)
        has_objects = (ids[:, None] == overlaps.images).any(dim=1)
        gt_inds = gt_inds * has_objects[:, None]
    return gt_inds


def _find_pairs(
    assigner: MaxIoUAssigner, overlaps: GridOverlaps, windows: ObjectWindows
) -> Optional[Tuple[Pairs, Optional[BestAnchors]]]:
    """Pairs that matter, see :func:`_resolve`."""
    least = min_relevant_iou(assigner)
    if isinstance(assigner, TopKMaxIoUAssigner):
        return pairs_with_best_anchors(assigner, overlaps, windows, least)
    found = windows.reaching(least)
    counts = overlaps.count(found)
    if counts is None:
        return None
    num_pairs, num_runs = counts
    return overlaps.pairs_in(
        overlaps.runs_of(found, num_runs), num_pairs
    ), None


def _negative_range(assigner: MaxIoUAssigner) -> Tuple[float, float]:
    """IoUs [low, high) that make a negative."""
    thr = assigner.neg_iou_thr
    return thr if isinstance(thr, tuple) else (0.0, thr)


def _is_negative(assigner: MaxIoUAssigner, ious: Tensor) -> Tensor:
    """Which of some IoUs make a negative."""
    low, high = _negative_range(assigner)
    is_neg = ious < high
    return is_neg & (ious >= low) if low > 0 else is_neg


def _resolve(
    assigner: MaxIoUAssigner,
    grid_overlaps: GridOverlaps,
    pairs: Pairs,
    best: Optional[BestAnchors],
) -> Tensor:
    """Decide between the objects of each anchor, as the assigner does.

    Args:
        assigner (MaxIoUAssigner): Its thresholds and options.
        grid_overlaps (GridOverlaps): The objects and the grid.
        pairs (Pairs): P pairs.
        best (BestAnchors, optional): Anchors that are positives whatever the
            thresholds.

    Returns:
        Tensor: (N * R, ), see :func:`assign_on_grid`.
    """
    objects, index, overlaps = pairs
    pos_iou = assigner.pos_iou_thr
    if best is not None:
        pos_iou = take(best.ious.clamp(max=pos_iou), objects)
    is_pos = overlaps >= pos_iou
    keys = _iou_keys(objects, overlaps)
    few_keys = None if best is None else take(keys, best.near)
    if assigner.match_low_quality:
        # The best anchors of an object are its own whatever others claim, and
        # of such claims the last object's counts.
        if best is None:
            is_forced = _is_best(assigner, grid_overlaps, pairs)
            keys = torch.where(is_forced, _LOW_QUALITY - objects, keys)
        else:
            few = best.pairs
            is_forced = _is_best(assigner, grid_overlaps, few, best.most)
            few_keys = torch.where(
                is_forced, _LOW_QUALITY - few.objects, few_keys
            )
            keys.scatter_(0, best.near, few_keys)
            is_forced = keys <= _LOW_QUALITY
        is_pos = is_pos | is_forced
    winners = keys.new_zeros(grid_overlaps.num_anchors)
    winners = winners.scatter_reduce_(0, index, keys, 'amin')
    if best is not None:
        rivals = best.rivals(grid_overlaps, few_keys, winners)
        rival_keys = _iou_keys(rivals.objects, rivals.overlaps)
        winners.scatter_reduce_(0, rivals.index, rival_keys, 'amin')
    loses = keys != take(winners, index)
    others = 0 if _negative_range(assigner)[0] <= 0 else -1
    # The last is written to in the place of none.
    gt_inds = index.new_full((grid_overlaps.num_anchors + 1,), others)
    is_neg = _is_negative(assigner, overlaps)
    # In place of torch.where, whose branches a CPU cannot foresee.
    values = (objects + 2).mul_(is_pos).maximum(is_neg).sub_(1)
    index = index.maximum(loses * grid_overlaps.num_anchors)
    return gt_inds.scatter_(0, index, values)[:-1]


def _iou_keys(objects: Tensor, overlaps: Tensor) -> Tensor:
    """Keys of pairs, of which an anchor's least wins.

    It has the highest IoU, and of equal ones the first object. The bits of
    floats >= 0 are ordered as the floats are.
    """
    bits = overlaps.view(torch.int32).long()
    return torch.sub(objects, bits, alpha=1 << 31)


def _is_best(
    assigner: MaxIoUAssigner,
    grid_overlaps: GridOverlaps,
    pairs: Pairs,
    most: Optional[Tensor] = None,
) -> Tensor:
    """Which pairs (P, ) have the best IoU of their object, if that is enough.

    Arguments as of :func:`_resolve`, and the best IoUs (G, ), if known.
    """
    objects, index, overlaps = pairs
    if most is None:
        most = overlaps.new_zeros(grid_overlaps.num_objects)
        most = most.scatter_reduce_(0, objects, overlaps, 'amax')
    most = most.masked_fill(most < assigner.min_pos_iou, NO_IOU)
    is_best = overlaps == take(most, objects)
    if not assigner.gt_max_assign_all:
        # Only the first of equally good ones, in mmdet's order.
        grid, beyond = grid_overlaps.grid, grid_overlaps.num_anchors
        ranks = grid.mmdet_index(grid.locate(index % grid.num_anchors))
        first = ranks.new_full((grid_overlaps.num_objects,), beyond)
        ties = torch.where(is_best, ranks, beyond)
        first = first.scatter_reduce_(0, objects, ties, 'amin')[objects]
        is_best = is_best & (ranks == first)
    return is_best
