"""Each object's best anchors: :class:`TopKMaxIoUAssigner` on a grid.

A block of enough cells around an object tells how low the IoU of the last of
its best anchors may be, and windows at that IoU hold them all.
"""

from typing import NamedTuple, Optional, Tuple

import torch
from torch import Tensor

from ..prior_generators import take
from .grid_overlaps import GridOverlaps, Pairs, Windows, iou_keys
from .topk_max_iou_assigner import TopKMaxIoUAssigner

# IoUs of blocks are not rounded as the calculator's.
_ROUNDING = 1e-3


class BestAnchors(NamedTuple):
    """Which anchors are among the best of their object.

    Attributes:
        ious (Tensor): (G, ), the IoU of each object's last one.
        near (Tensor): (n, ), positions of the pairs that may be such.
        rivals (Windows): Where objects may overlap an anchor more than one
            that claims it for its rank alone.
        num_rows (int): How many rows of cells these have.
    """

    ious: Tensor
    near: Tensor
    rivals: Windows
    num_rows: int

    def lost(
        self,
        grid_overlaps: GridOverlaps,
        pairs: Pairs,
        keys: Tensor,
        is_claimed: Tensor,
    ) -> Tensor:
        """Find the anchors, claimed for their rank, that others overlap more.

        Args:
            grid_overlaps (GridOverlaps): Computes IoUs.
            pairs (Pairs): P pairs.
            keys (Tensor): (P, ) their :func:`iou_keys`.
            is_claimed (Tensor): (P, ), bool, whether the object has the
                anchor for its rank, as far as the pairs tell.

        Returns:
            Tensor: (n, ) anchors among N * R, and N * R for none.
        """
        none = grid_overlaps.num_anchors
        pairs = pairs.select(self.near)
        is_claimed = take(is_claimed, self.near)
        index = torch.where(is_claimed, pairs.index, none)
        objects, found = grid_overlaps.find_in(
            self.rivals, self.num_rows, index
        )
        priors = grid_overlaps.grid.boxes(pairs.anchors)
        overlaps = grid_overlaps.calculator(
            take(grid_overlaps.boxes, objects),
            take(priors, found),
            is_aligned=True,
        )
        best = torch.zeros_like(index)
        rivals = iou_keys(overlaps, objects)
        best = best.scatter_reduce_(0, found, rivals, 'amax')
        return torch.where(best > take(keys, self.near), index, none)


def pairs_with_best_anchors(
    assigner: TopKMaxIoUAssigner,
    grid_overlaps: GridOverlaps,
    least_iou: float,
) -> Optional[Tuple[Pairs, Tensor, BestAnchors]]:
    """Pair objects with the anchors that reach an IoU or are among the best.

    Args:
        assigner (TopKMaxIoUAssigner): Its ``topk`` and ``topk_min_iou``.
        grid_overlaps (GridOverlaps): Finds pairs of at least one object.
        least_iou (float): The least IoU that matters by the thresholds.

    Returns:
        tuple | None: P pairs, their IoUs (P, ), and the best. None if a box
        is not finite.
    """
    floor, ious = _floors(assigner, grid_overlaps, least_iou)
    low, shape = grid_overlaps.windows(ious)
    shape[1] *= (ious[1] < 1).int()[..., None]  # no claim, no rival
    own, rivals = (Windows(*parts) for parts in zip(low, shape))
    sums = torch.stack([own.numbers.sum(), rivals.shape[..., 1].sum()])
    # The only copy to the host, of -1 if a box is not finite.
    sums = torch.where(grid_overlaps.are_finite(), sums, -1)
    num_pairs, num_rows = sums.tolist()
    if num_pairs < 0:
        return None
    pairs = grid_overlaps.pairs_in(own, num_pairs)
    overlaps = grid_overlaps.ious(pairs)
    near = (overlaps >= take(floor, pairs.objects)).nonzero()[:, 0]
    topk_ious = _topk_ious(
        assigner, take(pairs.objects, near), take(overlaps, near), floor
    )
    return pairs, overlaps, BestAnchors(topk_ious, near, rivals, num_rows)


def _floors(
    assigner: TopKMaxIoUAssigner,
    grid_overlaps: GridOverlaps,
    least_iou: float,
) -> Tuple[Tensor, Tensor]:
    """IoUs above which pairs are looked for.

    Returns:
        tuple:

        - floor (Tensor): (G, ), at most the IoU of the object's last anchor
          that is among its best.
        - ious (Tensor): (2, G, K), of an object's own anchors, and of those
          that others claim by their rank; 1 where there is no claim.
    """
    worst, best = grid_overlaps.block_ious(assigner.topk)
    floor = (1 - _ROUNDING) * worst.amax(dim=1)
    floor = floor.clamp(min=assigner.topk_min_iou)
    own = floor.clamp(max=least_iou)
    # A base anchor is claimed if the best of its anchors is.
    reaches = best >= (1 - _ROUNDING) * own[:, None]
    is_claimed = reaches & (floor < least_iou)[:, None]
    rival = torch.where(is_claimed, floor[:, None], 1.0).amin(dim=0)
    own, rival = torch.broadcast_tensors(own[:, None], rival)
    return floor, torch.stack([own, rival])


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
    keys = ((objects + 1 << 31) - bits).sort().values
    ids = torch.arange(len(floor) + 1, device=floor.device)
    bounds = torch.searchsorted(objects, ids)
    last = bounds[:-1] + assigner.topk - 1
    bits = -keys[last.clamp(max=len(keys) - 1)] & (1 << 31) - 1
    ious = bits.int().view(torch.float32)
    # An object with fewer has all that reach the least IoU among its best.
    return torch.where(last < bounds[1:], ious, assigner.topk_min_iou)
