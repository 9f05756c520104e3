"""Assignment by IoU without the matrix of IoUs, for anchors on a grid.

An anchor matters only if its IoU with an object reaches the least of the
assigner's thresholds. Anchors lie on grids, so for each object and base anchor
those are within a window of cells, which follows from centres and sizes. IoUs
are computed for the windows only, with the assigner's own calculator.

Shapes as in :mod:`..prior_generators.anchor_grid`, and
    G  objects of the batch, image after image
    P  candidate pairs of an object and an anchor
"""

from functools import partial
from typing import List, NamedTuple, Optional, Tuple

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
# Of a matrix of claims and objects, which is taken in parts.
_MOST_CELLS = 1 << 22
# Where to look how many anchors of an object have a higher one.
_IOUS_BELOW_THE_BEST = (0.4, 0.5, 0.6, 0.7)
# Keys of candidates: [low quality: 1][bits of the IoU: 31][object: 31].
_LOW_QUALITY = 1 << 62
_OBJECT = (1 << 31) - 1


class Pairs(NamedTuple):
    """Candidates.

    Attributes:
        overlaps (Tensor): (P, ) IoUs, 0 for an anchor that is not inside.
        objects (Tensor): (P, ) among G.
        index (Tensor): (P, ) anchors among N * R.
    """

    overlaps: Tensor
    objects: Tensor
    index: Tensor


class Windows(NamedTuple):
    """Cells around each object, for each base anchor.

    Attributes:
        low (Tensor): (G, K, 2), the first cell in x and y.
        widths (Tensor): (G, K), in cells.
        numbers (Tensor): (G, K), of cells.
    """

    low: Tensor
    widths: Tensor
    numbers: Tensor


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
    boxes = torch.cat(batch_bboxes)
    lengths = torch.tensor([len(bboxes) for bboxes in batch_bboxes])
    images = torch.arange(len(lengths)).repeat_interleave(
        lengths, output_size=len(boxes)
    )
    images = images.to(boxes.device)
    least = least_useful_iou(assigner)
    find = partial(_pairs, assigner, grid, boxes, images, inside)
    pairs = find(_windows(boxes, grid, least))
    if pairs is None:
        return None
    topk_ious = None
    if isinstance(assigner, TopKMaxIoUAssigner):
        # Most objects have their best anchors among these, if not all: for the
        # others windows are wider, in which these are found once more.
        is_near = pairs.overlaps >= least
        is_short = _count(pairs.objects, is_near, len(boxes)) < assigner.topk
        wide = _windows(boxes, grid, min(least, assigner.topk_min_iou))
        more = find(wide._replace(numbers=wide.numbers * is_short[:, None]))
        pairs.overlaps.masked_fill_(is_short[pairs.objects], 0)
        pairs = Pairs(*map(torch.cat, zip(pairs, more)))
        topk_ious = _topk_ious(assigner, pairs, len(boxes))
        is_claim = pairs.overlaps >= topk_ious[pairs.objects]
        is_claim &= pairs.overlaps < least
        _drop_lost_claims(assigner, grid, boxes, images, pairs, is_claim)
    size = len(lengths) * grid.num_anchors
    gt_inds = _resolve(assigner, pairs, len(boxes), size, topk_ious)
    gt_inds = gt_inds.view(len(lengths), -1)
    empty = [i for i, bboxes in enumerate(batch_bboxes) if len(bboxes) == 0]
    if empty:  # negatives all, whatever the thresholds
        gt_inds[empty] = 0
    return gt_inds if inside is None else gt_inds.masked_fill_(~inside, -1)


def _pairs(
    assigner: MaxIoUAssigner,
    grid: AnchorGrid,
    boxes: Tensor,
    images: Tensor,
    inside: Optional[Tensor],
    windows: Windows,
) -> Optional[Pairs]:
    """IoUs in the windows; None if an object is not finite.

    Args:
        assigner (MaxIoUAssigner): Its calculator.
        grid (AnchorGrid): The anchors.
        boxes (Tensor): (G, 4) objects.
        images (Tensor): (G, ) image of each.
        inside (Tensor, optional): (N, R), see :func:`assign_on_grid`.
        windows (Windows): Where to look.
    """
    # The only copy to the host: the number of pairs, -1 if not finite.
    finite = (boxes.abs() < _FINITE).all()
    total = int(torch.where(finite, windows.numbers.sum(), -1))
    if total < 0:
        return None
    objects, place = _expand(windows, total)
    overlaps = assigner.iou_calculator(
        boxes[objects], grid.boxes(place), is_aligned=True
    )
    index = images[objects] * grid.num_anchors + grid.index(place)
    if inside is not None:
        overlaps = overlaps * inside.flatten()[index]
    return Pairs(overlaps, objects, index)


def _count(objects: Tensor, counts: Tensor, num_objects: int) -> Tensor:
    """How many pairs of each object (G, ) are true, of (P, ) bools."""
    counts = counts.long()
    return counts.new_zeros(num_objects).scatter_add_(0, objects, counts)


def _negative_range(assigner: MaxIoUAssigner) -> Tuple[float, float]:
    """IoUs [low, high) that make a negative."""
    thr = assigner.neg_iou_thr
    return thr if isinstance(thr, tuple) else (0.0, thr)


def _windows(boxes: Tensor, grid: AnchorGrid, least_iou: float) -> Windows:
    """Cells of every pair whose IoU reaches the least one, and some others.

    With areas a and b, an IoU of t takes an overlap of t / (1 + t) (a + b).
    Its extent in x is at least that over the lesser height, likewise in y.
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
    return Windows(low.long(), counts[..., 0], counts.prod(dim=-1))


def _expand(windows: Windows, total: int) -> Tuple[Tensor, Place]:
    """List the cells of windows.

    Args:
        windows (Windows): Of G objects.
        total (int): The sum of their numbers.

    Returns:
        tuple: Objects (P, ) and places.
    """
    low, widths, numbers = (part.flatten(0, 1) for part in windows)
    bases = windows.numbers.shape[1]
    which = torch.arange(len(numbers), device=low.device).repeat_interleave(
        numbers, output_size=total
    )
    starts = numbers.cumsum(0) - numbers
    nth = torch.arange(total, device=low.device) - starts[which]
    width = widths[which]
    x, y = low[which].unbind(dim=1)
    place = Place(which % bases, x + nth % width, y + nth // width)
    return which // bases, place


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


def _drop_lost_claims(
    assigner: TopKMaxIoUAssigner,
    grid: AnchorGrid,
    boxes: Tensor,
    images: Tensor,
    pairs: Pairs,
    is_claim: Tensor,
) -> None:
    """Set the IoU to 0 of claims to anchors that are nearer to another object.

    Below the least IoU, the pairs of objects that have enough anchors above it
    are not listed, though they may be nearer.

    Args:
        assigner (TopKMaxIoUAssigner): Its calculator.
        grid (AnchorGrid): The anchors.
        boxes (Tensor): (G, 4) objects.
        images (Tensor): (G, ) image of each.
        pairs (Pairs): P candidates, whose overlaps are changed in place.
        is_claim (Tensor): (P, ), whether the anchor is among the best of the
            object, below the least IoU.
    """
    claims = is_claim.nonzero()[:, 0]
    for rows in claims.split(max(_MOST_CELLS // max(len(boxes), 1), 1)):
        owners = pairs.objects[rows, None]
        anchors = grid.boxes(grid.locate(pairs.index[rows] % grid.num_anchors))
        ious = assigner.iou_calculator(anchors, boxes)
        own = pairs.overlaps[rows, None]
        # Of equals the first object has the anchor.
        first = torch.arange(len(boxes), device=boxes.device) < owners
        is_nearer = (ious > own) | ((ious == own) & first)
        is_lost = (is_nearer & (images == images[owners])).any(dim=1)
        pairs.overlaps[rows] = own[:, 0].masked_fill(is_lost, 0)


def _topk_ious(
    assigner: TopKMaxIoUAssigner, pairs: Pairs, num_objects: int
) -> Tensor:
    """IoU (G, ) of each object's last anchor that is among its best.

    Arguments as of :func:`_resolve`.
    """
    overlaps, objects, _ = pairs
    least = overlaps.new_full((num_objects,), assigner.topk_min_iou)
    # Sorted is what can be among the best, some dozen of an object's hundreds.
    for iou in _IOUS_BELOW_THE_BEST:
        number = _count(objects, overlaps >= iou, num_objects)
        is_enough = number >= assigner.topk
        least = torch.where(is_enough, least.clamp(min=iou), least)
    is_near = (overlaps >= least[objects]).nonzero()[:, 0]
    overlaps, objects = overlaps[is_near], objects[is_near]
    if len(overlaps) == 0:
        return least
    # By object, then by descending IoU, whose bits are ordered as it is.
    order = ((objects + 1 << 31) - overlaps.view(torch.int32)).argsort()
    numbers = _count(objects, torch.ones_like(objects), num_objects)
    last = numbers.cumsum(0) - numbers + assigner.topk - 1
    ious = overlaps[order[last.clamp(max=len(order) - 1)]]
    # Of an object with fewer, all that reach the least IoU are among its best.
    return torch.where(numbers < assigner.topk, least, ious)
