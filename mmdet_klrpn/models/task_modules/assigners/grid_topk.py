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
from .grid_windows import ObjectWindows
from .topk_max_iou_assigner import TopKMaxIoUAssigner

# IoUs of blocks are not rounded as the calculator's.
_ROUNDING = 1e-3
# No anchor has such an IoU.
_NONE = 2.0


class BestAnchors(NamedTuple):
    """Which anchors are among the best of their object.

    Attributes:
        ious (Tensor): (G, ), the IoU of each object's last one.
        near (Tensor): (n, ), positions of the pairs that may be such.
        is_claimed (Tensor): (n, ), bool, whether the object claims the anchor
            for its rank alone.
        runs (Runs): Where objects may overlap such an anchor more.
    """

    ious: Tensor
    near: Tensor
    is_claimed: Tensor
    runs: Runs

    def rivals(
        self,
        grid_overlaps: GridOverlaps,
        index: Tensor,
        keys: Tensor,
        winners: Tensor,
    ) -> Pairs:
        """Pairs of other objects and the anchors that are claimed.

        Args:
            grid_overlaps (GridOverlaps): Computes IoUs.
            index (Tensor): (P, ) anchors of the pairs.
            keys (Tensor): (P, ), of which an anchor's largest wins.
            winners (Tensor): (N * R, ) the largest of each anchor.
        """
        index, keys = take(index, self.near), take(keys, self.near)
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
    found = windows.reaching(ious)
    counts = grid_overlaps.count(found)
    if counts is None:
        return None
    num_pairs, *num_runs = counts
    runs = grid_overlaps.runs_of(found, sum(num_runs))
    own, others = map(Runs._make, zip(*(x.split(num_runs) for x in runs)))
    pairs = grid_overlaps.pairs_in(own, num_pairs)
    near = (pairs.overlaps >= take(floor, pairs.objects)).nonzero()[:, 0]
    objects, overlaps = take(pairs.objects, near), take(pairs.overlaps, near)
    ious = _topk_ious(assigner, objects, overlaps, floor)
    is_claimed = overlaps >= take(ious, objects)
    is_claimed &= overlaps < least_iou
    return pairs, BestAnchors(ious, near, is_claimed, others)


def _floors(
    assigner: TopKMaxIoUAssigner, windows: ObjectWindows, least_iou: float
) -> Tuple[Tensor, Tensor]:
    """IoUs above which pairs are looked for.

    Returns:
        tuple:

        - floor (Tensor): (G, ), at most the IoU of the object's last anchor
          that is among its best.
        - ious (Tensor): (2, G, K), of an object's own anchors, and of those
          that others claim by their rank.
    """
    floor = windows.block_ious(assigner.topk).amax(dim=1) * (1 - _ROUNDING)
    floor = floor.clamp(min=assigner.topk_min_iou)[:, None]
    own = floor.clamp(max=least_iou)
    # A base anchor is claimed if the best of its anchors may be.
    reaches = windows.centred_ious() >= (1 - _ROUNDING) * own
    is_claimed = reaches & (floor < least_iou)
    claimed = torch.where(is_claimed, floor, _NONE).amin(dim=0)
    ious = torch.stack(torch.broadcast_tensors(own, claimed))
    return floor[:, 0], ious


def _topk_ious(
    assigner: TopKMaxIoUAssigner,
    objects: Tensor,
    overlaps: Tensor,
    floor: Tensor,
) -> Tensor:
    """The IoU (G, ) of the last of each object's best anchors.

    Args:
        assigner (TopKMaxIoUAssigner): Its ``topk`` and ``topk_min_iou``.
        objects (Tensor): (n, ) among G, ascending, of pairs that hold the
            best.
        overlaps (Tensor): (n, ) their IoUs.
        floor (Tensor): (G, ), below the IoU of the last of the best.
    """
    if len(objects) == 0:
        return floor
    # By object, then by descending IoU, whose bits are ordered as it is.
    bits = overlaps.view(torch.int32).long()
    keys = ((objects << 31) - bits).sort().values
    ids = torch.arange(len(floor) + 1, device=floor.device)
    bounds = torch.searchsorted(objects, ids)
    last = bounds[:-1] + (assigner.topk - 1)
    bits = (ids[:-1] << 31) - take(keys, last.clamp(max=len(keys) - 1))
    ious = bits.int().view(torch.float32)
    # An object with fewer has all that reach the least IoU among its best.
    return torch.where(last < bounds[1:], ious, assigner.topk_min_iou)
