"""Each object's best anchors: :class:`TopKMaxIoUAssigner` on a grid."""

from typing import Tuple

import torch
from torch import Tensor

from .grid_overlaps import GridOverlaps, Pairs
from .topk_max_iou_assigner import TopKMaxIoUAssigner

# Where to look how many anchors of an object have a higher one.
_IOUS_BELOW_THE_BEST = (0.4, 0.5, 0.6, 0.7)


def add_best_anchors(
    assigner: TopKMaxIoUAssigner,
    grid_overlaps: GridOverlaps,
    pairs: Pairs,
    least: float,
) -> Tuple[Pairs, Tensor]:
    """Add the pairs below the least IoU that decide who has an anchor.

    Args:
        assigner (TopKMaxIoUAssigner): Its ``topk`` and ``topk_min_iou``.
        grid_overlaps (GridOverlaps): Where further pairs are found.
        pairs (Pairs): All whose IoU is at least ``least``.
        least (float): The least IoU that counts by the thresholds.

    Returns:
        tuple: Pairs, and the IoU (G, ) of each object's last anchor that is
        among its best.
    """
    # Most objects have their best anchors among the pairs, if not all: for the
    # others windows are wider, in which these are found once more.
    is_near = pairs.overlaps >= least
    is_short = grid_overlaps.count(pairs, is_near) < assigner.topk
    wide = grid_overlaps.windows(min(least, assigner.topk_min_iou))
    pairs.overlaps.masked_fill_(is_short[pairs.objects], 0)
    pairs = pairs.extended(grid_overlaps.within(wide.of(is_short)))
    topk_ious = _topk_ious(assigner, grid_overlaps, pairs)
    # An anchor so found may be nearer to an object that has enough of them.
    is_claim = pairs.overlaps >= topk_ious[pairs.objects]
    is_claim &= pairs.overlaps < least
    claims = pairs.index[is_claim]
    rivals = grid_overlaps.among(wide.of(~is_short), claims)
    return pairs.extended(rivals), topk_ious


def _topk_ious(
    assigner: TopKMaxIoUAssigner, grid_overlaps: GridOverlaps, pairs: Pairs
) -> Tensor:
    """See :func:`add_best_anchors`."""
    overlaps = pairs.overlaps
    least = overlaps.new_full(
        (grid_overlaps.num_objects,), assigner.topk_min_iou
    )
    # Sorted is what can be among the best, some dozen of an object's hundreds.
    for iou in _IOUS_BELOW_THE_BEST:
        number = grid_overlaps.count(pairs, overlaps >= iou)
        is_enough = number >= assigner.topk
        least = torch.where(is_enough, least.clamp(min=iou), least)
    is_near = (overlaps >= least[pairs.objects]).nonzero()[:, 0]
    pairs = Pairs(*(part[is_near] for part in pairs))
    if len(is_near) == 0:
        return least
    # By object, then by descending IoU, whose bits are ordered as it is.
    bits = pairs.overlaps.view(torch.int32)
    order = ((pairs.objects + 1 << 31) - bits).argsort()
    numbers = grid_overlaps.count(pairs, torch.ones_like(order))
    last = numbers.cumsum(0) - numbers + assigner.topk - 1
    ious = pairs.overlaps[order[last.clamp(max=len(order) - 1)]]
    # Of an object with fewer, all that reach the least IoU are among its best.
    return torch.where(numbers < assigner.topk, least, ious)
