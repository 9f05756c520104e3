"""Each object's best anchors: :class:`TopKMaxIoUAssigner` on a grid.

A block of enough cells around an object tells how low the IoU of the last of
its best anchors may be, and windows at that IoU hold them all. An anchor that
an object claims for its rank alone may overlap another object more, whose
windows end above that IoU: such rivals are looked up.
"""

from typing import NamedTuple, Optional, Tuple

import torch
from torch import Tensor

from ..prior_generators import take
from .grid_overlaps import GridOverlaps, Pairs, Runs
from .grid_windows import NO_IOU, ObjectWindows
from .topk_max_iou_assigner import TopKMaxIoUAssigner

# IoUs of blocks are not rounded as the calculator's.
_ROUNDING = 1e-3


class BestAnchors(NamedTuple):
    """Which anchors are among the best of their object.

    Attributes:
        most (Tensor): (G, ), the IoU of each object's first one; less than
            the least that matters if no anchor reaches that.
        ious (Tensor): (G, ), the IoU of each object's last one.
        near (Tensor): (n, ), positions of the pairs that may be such.
        pairs (Pairs): These n.
        is_claimed (Tensor): (n, ), bool, whether the object claims the anchor
            for its rank alone.
        runs (Runs): Where objects may overlap such an anchor more.
    """

    most: Tensor
    ious: Tensor
    near: Tensor
    pairs: Pairs
    is_claimed: Tensor
    runs: Runs

    def rivals(
        self,
        grid_overlaps: GridOverlaps,
        keys: Tensor,
        winners: Tensor,
    ) -> Pairs:
        """Pairs of other objects and the anchors that are claimed.

        Args:
            grid_overlaps (GridOverlaps): Computes IoUs.
            keys (Tensor): (n, ), of which an anchor's least wins.
            winners (Tensor): (N * R, ) the least of each anchor.
        """
        index = self.pairs.index
        is_claimed = self.is_claimed & (keys == take(winners, index))
        none = grid_overlaps.num_anchors
        index = torch.where(is_claimed, index, none)
        return grid_overlaps.find_in(self.runs, index)


def pairs_with_best_anchors(
    assigner: TopKMaxIoUAssigner,
    grid_overlaps: GridOverlaps,
    windows: ObjectWindows,
    least_iou: float,
) -> Optional[Tuple[Pairs, BestAnchors]]:
    """Pair objects with the anchors that reach an IoU or are among the best.

    Args:
        assigner (TopKMaxIoUAssigner): Its ``topk`` and ``topk_min_iou``.
        grid_overlaps (GridOverlaps): Finds pairs of at least one object.
        windows (ObjectWindows): Of the same objects.
        least_iou (float): The least IoU that matters by the thresholds.

    Returns:
        tuple | None: P pairs, and the best. None if a box is not finite.
    """
    floor, ious = _floors(assigner, windows, least_iou)
    found = windows.reaching(ious, grid_overlaps.grid.orders.units)
    counts = grid_overlaps.count(found)
    if counts is None:
        return None
    num_pairs, *num_runs = counts
    runs = grid_overlaps.runs_of(found, sum(num_runs))
    own, others = map(Runs._make, zip(*(x.split(num_runs) for x in runs)))
    pairs = grid_overlaps.pairs_in(own, num_pairs)
    near = (pairs.overlaps >= take(floor, pairs.objects)).nonzero()[:, 0]
    few = Pairs(*(take(part, near) for part in pairs))
    most, ious = _topk_ious(assigner, few, floor, grid_overlaps.ids)
    is_claimed = few.overlaps >= take(ious, few.objects)
    is_claimed &= few.overlaps < least_iou
    return pairs, BestAnchors(most, ious, near, few, is_claimed, others)


def _floors(
    assigner: TopKMaxIoUAssigner, windows: ObjectWindows, least_iou: float
) -> Tuple[Tensor, Tensor]:
    """IoUs above which pairs are looked for.

    Returns:
        tuple:

        - floor (Tensor): (G, ), at most the IoU of the object's last anchor
          that is among its best, and of its first if that matters.
        - ious (Tensor): (2, G, K), of an object's own anchors, and of those
          that others claim by their rank.
    """
    floor = windows.block_ious(assigner.topk).amax(dim=1) * (1 - _ROUNDING)
    floor = floor.clamp(min=min(assigner.topk_min_iou, least_iou))[:, None]
    own = floor.clamp(max=least_iou)
    # A base anchor is claimed if the best of its anchors may be.
    reaches = windows.centred_ious() >= (1 - _ROUNDING) * own
    is_claimed = reaches & (floor < least_iou)
    claimed = torch.where(is_claimed, floor, NO_IOU).amin(dim=0)
    ious = torch.stack(torch.broadcast_tensors(own, claimed))
    return floor[:, 0], ious


def _topk_ious(
    assigner: TopKMaxIoUAssigner,
    pairs: Pairs,
    floor: Tensor,
    ids: Tensor,
) -> Tuple[Tensor, Tensor]:
    """IoUs (G, ) of the first and the last of each object's best anchors.

    Args:
        assigner (TopKMaxIoUAssigner): Its ``topk`` and ``topk_min_iou``.
        pairs (Pairs): Pairs that hold the best, objects ascending.
        floor (Tensor): (G, ), above the IoUs of pairs that are left out.
        ids (Tensor): Numbers from 0 to G at least.
    """
    objects, _, overlaps = pairs
    if len(objects) == 0:
        return floor, floor.clamp(min=assigner.topk_min_iou)
    # By object, then by descending IoU, whose bits are ordered as it is.
    keys = ((objects << 31) - overlaps.view(torch.int32)).sort().values
    ids = ids[: len(floor) + 1]
    bounds = torch.searchsorted(objects, ids)
    first, end = bounds[:-1], bounds[1:]
    places = torch.stack([first, first + (assigner.topk - 1)])
    keys = take(keys, places.clamp(max=len(keys) - 1).flatten())
    bits = (ids[:-1] << 31) - keys.view_as(places)
    ious = bits.int().view(torch.float32)
    most, least = torch.where(places < end, ious, 0.0)
    # An object with fewer has all that reach the least IoU among its best.
    return most, least.clamp(min=assigner.topk_min_iou)
