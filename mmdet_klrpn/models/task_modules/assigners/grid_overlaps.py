"""Pairs of an object and an anchor of a grid, and their IoUs.

IoUs are computed for the pairs that are asked for only, bit for bit as mmdet's
BboxOverlaps2D does.

Shapes as in :mod:`..prior_generators.anchor_grid`, and
    G  objects of the batch, image after image
    P  pairs of an object and an anchor
"""

import math
from typing import List, NamedTuple, Optional, Tuple

import torch
from torch import Tensor

from ..prior_generators import STRIP, AnchorGrid, areas, corners, take
from .grid_windows import Windows

# Objects with larger coordinates may have an area that is not finite.
MOST = 1e15
# The least union of two boxes, as of mmdet's bbox_overlaps.
_EPS = 1e-6


class Pairs(NamedTuple):
    """Pairs of objects and anchors.

    Attributes:
        objects (Tensor): (P, ) among G.
        index (Tensor): (P, ) the anchors' position in map order, counted over
            the batch, among N * R.
        overlaps (Tensor): (P, ) IoUs.
    """

    objects: Tensor
    index: Tensor
    overlaps: Tensor


class Runs(NamedTuple):
    """Rows of windows: positions that follow each other in either order.

    Attributes:
        objects (Tensor): (n, ) whose windows they are, among G.
        first (Tensor): (n, ) the first, counted over the batch.
        width (Tensor): (n, ) how many.
    """

    objects: Tensor
    first: Tensor
    width: Tensor


class GridOverlaps:
    """IoUs of a batch's objects and anchors, where they are asked for.

    Args:
        grid (AnchorGrid): The anchors.
        batch_bboxes (list[Tensor]): (n, 4) objects of each image, float32, in
            input pixels.
    """

    def __init__(self, grid: AnchorGrid, batch_bboxes: List[Tensor]) -> None:
        self.grid = grid
        self.boxes = torch.cat(batch_bboxes)
        self._corners, self._areas = corners(self.boxes), areas(self.boxes)
        self.num_objects = len(self.boxes)
        self.num_anchors = len(batch_bboxes) * grid.num_anchors
        self.ids = torch.arange(
            max(len(batch_bboxes), self.num_objects + 1),
            device=self.boxes.device,
        )
        # Views, so that nothing is copied to the device.
        self.images = torch.cat(
            [self.ids[i].expand(len(x)) for i, x in enumerate(batch_bboxes)]
        )
        # Where an object's image starts in either order, (2, G, 1).
        self._starts = self.images[:, None] * grid.orders.sizes

    def count(self, windows: Windows) -> Optional[List[int]]:
        """Ask the device, once, for the sizes of what follows from windows.

        Args:
            windows (Windows): (2, W, G, K) each.

        Returns:
            list[int] | None: The cells of the first of W, then the rows of
            each. None if a box is not finite.
        """
        width, height = windows.shape
        counts = torch.cat([width[:1] * height[:1], height]).sum((1, 2))
        is_finite = largest(self.boxes) < MOST
        counts = torch.where(is_finite, counts, -1).tolist()
        return None if counts[0] < 0 else counts

    def runs_of(self, windows: Windows, total: int) -> Runs:
        """Split windows into their rows.

        Args:
            windows (Windows): (2, W, G, K) each: the first of W in cells, for
                map order; the second, if any, in units of strip order.
            total (int): How many rows they have.
        """
        low, (width, height) = windows
        orders = slice(low.shape[1])
        strides, starts = self.grid.orders.strides, self.grid.orders.starts
        unit, pitch = strides[:, orders]
        first = (low * strides[:, orders]).sum(0)
        first = first + starts[orders] + self._starts[orders]
        width = width * unit
        objects = self.ids[: self.num_objects, None]
        which, row = ragged_arange(height.flatten(), total)
        table = torch.broadcast_tensors(objects, first, width, pitch)
        table = take(torch.stack(table, dim=-1).flatten(0, 2), which)
        objects, first, width, pitch = table.unbind(dim=1)
        return Runs(objects, torch.addcmul(first, row, pitch), width)

    def pairs_in(self, runs: Runs, total: int) -> Pairs:
        """Pair objects with every anchor in their runs.

        Args:
            runs (Runs): In map order, whose objects are ascending.
            total (int): How many anchors they have.

        Returns:
            Pairs: Objects are ascending.
        """
        which, index = ragged_arange(runs.width, total, runs.first)
        return self._pairs(take(runs.objects, which), index)

    def find_in(self, runs: Runs, index: Tensor) -> Pairs:
        """Pair objects with those of given anchors that are in their runs.

        Args:
            runs (Runs): In strip order.
            index (Tensor): Anchors among N * R; N * R for none.
        """
        orders, number = self.grid.orders, self.grid.num_anchors
        shifts = take(orders.shifts, index % number)
        strips = torch.add(shifts, index, alpha=STRIP)
        # Twice as fast as of 64 bits.
        strips, order = strips.int().sort()
        bounds = torch.stack([runs.first, runs.first + runs.width]).int()
        first, last = torch.searchsorted(strips, bounds)
        numbers = last - first
        which, nth = ragged_arange(numbers, int(numbers.sum()), first)
        index = take(index, take(order, nth))
        return self._pairs(take(runs.objects, which), index)

    def _pairs(self, objects: Tensor, index: Tensor) -> Pairs:
        """Compute the IoU of each pair, (P, ) both."""
        if not len(index):
            return Pairs(objects, index, self._areas[:0])
        grid, anchors = self.grid, index % self.grid.num_anchors
        low, high = _take_corners(self._corners, objects)
        grid_low, grid_high = _take_corners(grid.corners, anchors)
        # In place, as new memory costs more time than arithmetic.
        low = torch.max(low, grid_low, out=low)
        high = torch.min(high, grid_high, out=high)
        total = take(self._areas, objects).add_(take(grid.areas, anchors))
        return Pairs(objects, index, ious(low, high, total, dim=1))


def ious(low: Tensor, high: Tensor, total: Tensor, dim: int) -> Tensor:
    """IoUs, bit for bit as by mmdet's bbox_overlaps; overwrites arguments.

    Args:
        low (Tensor): The larger low corners, x and y along ``dim``.
        high (Tensor): The smaller high corners.
        total (Tensor): Sums of both areas.
        dim (int): Of the corners.
    """
    x, y = high.sub_(low).clamp_(min=0).unbind(dim)
    overlap = x * y
    return overlap.div_(total.sub_(overlap).clamp_(min=_EPS))


def _take_corners(corners: Tensor, index: Tensor) -> List[Tensor]:
    """Low and high corners (n, 2) of some boxes."""
    return [torch.view_as_real(take(corner, index)) for corner in corners]


def largest(boxes: Tensor) -> Tensor:
    """The largest coordinate, or NaN if there is one."""
    return torch.linalg.vector_norm(boxes, math.inf)


def ragged_arange(
    numbers: Tensor, total: int, first: Optional[Tensor] = None
) -> Tuple[Tensor, Tensor]:
    """Count so many numbers from each of some starts.

    Args:
        numbers (Tensor): (n, ) how many.
        total (int): Their sum, for which the device is not asked.
        first (Tensor, optional): (n, ) where to start. Defaults to 0.

    Returns:
        tuple: (total, ) each: which of the n, and the count.
    """
    which = torch.repeat_interleave(numbers, output_size=total)
    shift = numbers - numbers.cumsum(0)
    if first is not None:
        shift = shift + first
    count = torch.arange(total, device=numbers.device)
    return which, count + take(shift, which)
