"""Assignment by IoU without the matrix of IoUs, for anchors on a grid.

An anchor matters only if its IoU with an object reaches the least of the
assigner's thresholds. Anchors lie on grids, so for each object and base anchor
those are within a window of cells, which follows from centres and sizes. IoUs
are computed for the windows only, with the assigner's own calculator.

Shapes as in :mod:`..prior_generators.anchor_grid`, and
    G  objects of the batch, image after image
    P  candidate pairs of an object and an anchor
"""

from typing import List, Optional, Tuple

import torch
from mmdet.models.task_modules.assigners import BboxOverlaps2D, MaxIoUAssigner
from torch import Tensor

from ..prior_generators.anchor_grid import AnchorGrid, Place
from .topk_max_iou_assigner import TopKMaxIoUAssigner

# Below it the windows are most of the map, and the matrix is no worse.
_LEAST_IOU = 0.1
# Anchors are rounded to float32, by up to 1e-3 pixels in an image of 10,000:
# windows are wider by this share of the overlap and of a cell.
_MARGIN = 0.01
# Objects with larger coordinates may have an area that is not finite.
_FINITE = 1e15
# Keys of candidates: [low quality: 1][bits of the IoU: 31][object: 31].
_LOW_QUALITY = 1 << 62
_OBJECT = (1 << 31) - 1


def least_useful_iou(assigner: object) -> Optional[float]:
    """The IoU below which the assigner treats anchors as if it were 0.

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
    if isinstance(assigner, TopKMaxIoUAssigner):
        least = min(least, assigner.topk_min_iou)
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
    boxes = torch.cat(batch_bboxes)
    lengths = torch.tensor([len(bboxes) for bboxes in batch_bboxes])
    images = torch.arange(len(lengths)).repeat_interleave(
        lengths, output_size=len(boxes)
    )
    images = images.to(boxes.device)
    pairs = _candidates(boxes, grid, least_useful_iou(assigner))
    if pairs is None:
        return None
    objects, place = pairs
    overlaps = assigner.iou_calculator(
        boxes[objects], grid.boxes(place), is_aligned=True
    )
    index = images[objects] * grid.num_anchors + grid.index(place)
    if inside is not None:
        overlaps = overlaps * inside.flatten()[index]
    size = len(lengths) * grid.num_anchors
    gt_inds = _resolve(assigner, overlaps, objects, index, len(boxes), size)
    gt_inds = gt_inds.view(len(lengths), -1)
    empty = [i for i, bboxes in enumerate(batch_bboxes) if len(bboxes) == 0]
    if empty:  # negatives all, whatever the thresholds
        gt_inds[empty] = 0
    return gt_inds if inside is None else gt_inds.masked_fill_(~inside, -1)


def _negative_range(assigner: MaxIoUAssigner) -> Tuple[float, float]:
    """IoUs [low, high) that make a negative."""
    thr = assigner.neg_iou_thr
    return thr if isinstance(thr, tuple) else (0.0, thr)


def _candidates(
    boxes: Tensor, grid: AnchorGrid, least_iou: float
) -> Optional[Tuple[Tensor, Place]]:
    """Every pair whose IoU reaches the least one, and some others.

    With areas a and b, an IoU of t takes an overlap of t / (1 + t) (a + b).
    Its extent in x is at least that over the lesser height, likewise in y.

    Returns:
        tuple | None: Objects (P, ) and the anchors' places. None if an
        object is not finite.
    """
    # (G, 1, 2), (G, K, 2), (G, K) and (G, K, 2), the pairs in x and y.
    wh = (boxes[:, None, 2:] - boxes[:, None, :2]).clamp(min=0)
    least_wh = torch.min(wh, grid.base_wh)
    share = (1 - _MARGIN) * least_iou / (1 + least_iou)
    overlap = share * (wh.prod(dim=-1) + grid.base_areas)
    extent = overlap[..., None] / least_wh.flip(-1)
    low = boxes[:, None, :2] + extent - grid.base_anchors[:, 2:]
    high = boxes[:, None, 2:] - extent - grid.base_anchors[:, :2]
    low = (low / grid.strides - _MARGIN).ceil().clamp(min=0)
    high = torch.min((high / grid.strides + _MARGIN).floor(), grid.lasts)
    reached = least_wh.prod(dim=-1) >= overlap
    counts = (high - low + 1).clamp(min=0) * reached[..., None]
    counts = counts.long()

    # The only copy to the host: the number of pairs, -1 if not finite.
    numbers = counts.prod(dim=-1).flatten()
    finite = (boxes.abs() < _FINITE).all()
    total = int(torch.where(finite, numbers.sum(), -1))
    if total < 0:
        return None
    return _expand(low.long(), counts[..., 0], numbers, total)


def _expand(
    low: Tensor, widths: Tensor, numbers: Tensor, total: int
) -> Tuple[Tensor, Place]:
    """List the cells of windows.

    Args:
        low (Tensor): (G, K, 2), the first cell in x and y.
        widths (Tensor): (G, K), in cells.
        numbers (Tensor): (G * K, ), of cells.
        total (int): Their sum.

    Returns:
        tuple: Objects (P, ) and places.
    """
    windows = torch.arange(len(numbers), device=low.device).repeat_interleave(
        numbers, output_size=total
    )
    starts = numbers.cumsum(0) - numbers
    nth = torch.arange(total, device=low.device) - starts[windows]
    width = widths.flatten()[windows]
    x, y = low.flatten(0, 1)[windows].unbind(dim=1)
    place = Place(windows % low.shape[1], x + nth % width, y + nth // width)
    return windows // low.shape[1], place


def _resolve(
    assigner: MaxIoUAssigner,
    overlaps: Tensor,
    objects: Tensor,
    index: Tensor,
    num_objects: int,
    num_anchors: int,
) -> Tensor:
    """Decide between the candidates of each anchor, as the assigner does.

    Args:
        assigner (MaxIoUAssigner): Its thresholds and options.
        overlaps (Tensor): (P, ) IoUs, 0 for an anchor that is not inside.
        objects (Tensor): (P, ) among G.
        index (Tensor): (P, ) anchors among N * R.
        num_objects (int): G.
        num_anchors (int): N * R.

    Returns:
        Tensor: (N * R, ), see :func:`assign_on_grid`.
    """
    # The largest key wins an anchor: the best IoU, and of equal ones the first
    # object. The bits of floats >= 0 are ordered as the floats are.
    keys = overlaps.view(torch.int32).long() << 31 | (_OBJECT - objects)
    if assigner.match_low_quality:
        # The best anchors of an object are its own whatever others claim, and
        # of such claims the last object's counts.
        best = _best_anchors(
            assigner, overlaps, objects, index, num_objects, num_anchors
        )
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
    if isinstance(assigner, TopKMaxIoUAssigner):
        least = _topk_ious(assigner, overlaps, objects, num_objects)
        is_pos = is_pos | (best_iou >= least[number - 1])
    values = torch.where(is_pos, number, is_neg.long() - 1)
    gt_inds = index.new_full((num_anchors,), 0 if low <= 0 else -1)
    return gt_inds.scatter_(0, index, values)


def _best_anchors(
    assigner: MaxIoUAssigner,
    overlaps: Tensor,
    objects: Tensor,
    index: Tensor,
    num_objects: int,
    num_anchors: int,
) -> Tensor:
    """Which pairs (P, ) have the best IoU of their object, if that is enough.

    Arguments as of :func:`_resolve`.
    """
    best = overlaps.new_zeros(num_objects)
    best = best.scatter_reduce_(0, objects, overlaps, 'amax')[objects]
    is_best = (overlaps == best) & (best >= assigner.min_pos_iou)
    if not assigner.gt_max_assign_all:
        ties = torch.where(is_best, index, num_anchors)
        first = index.new_full((num_objects,), num_anchors)
        first = first.scatter_reduce_(0, objects, ties, 'amin')[objects]
        is_best = is_best & (index == first)
    return is_best


def _topk_ious(
    assigner: TopKMaxIoUAssigner,
    overlaps: Tensor,
    objects: Tensor,
    num_objects: int,
) -> Tensor:
    """IoU (G, ) of each object's last anchor that is among its best.

    Arguments as of :func:`_resolve`.
    """
    least = overlaps.new_full((num_objects,), assigner.topk_min_iou)
    if len(overlaps) == 0:
        return least
    # By object, then by descending IoU, whose bits are ordered as it is.
    order = ((objects + 1 << 31) - overlaps.view(torch.int32)).argsort()
    numbers = torch.zeros_like(least, dtype=torch.long)
    numbers.scatter_add_(0, objects, torch.ones_like(objects))
    last = numbers.cumsum(0) - numbers + assigner.topk - 1
    ious = overlaps[order[last.clamp(max=len(order) - 1)]]
    # An object with fewer pairs has no such anchor that reaches the least IoU.
    return torch.where(numbers < assigner.topk, least, ious.maximum(least))
