"""Pairs of an object and an anchor of a grid that overlap enough.

Anchors lie on grids, so for each object and base anchor those whose IoU
reaches a threshold are within a window of cells, which follows from centres
and sizes. IoUs are computed for the windows only, with the assigner's own
calculator.

Shapes as in :mod:`..prior_generators.anchor_grid`, and
    G  objects of the batch, image after image
    P  pairs of an object and an anchor
"""

import math
from typing import List, NamedTuple, Optional, Tuple, Union

import torch
from mmdet.models.task_modules.assigners import BboxOverlaps2D
from torch import Tensor

from ..prior_generators import AnchorGrid, AnchorIndex, InsideCells, take

# Anchors are rounded to float32, by up to 1e-3 pixels in an image of 10,000:
# windows are wider by this share of the overlap and of a cell.
_MARGIN = 0.01
# Objects with larger coordinates may have an area that is not finite.
_FINITE = 1e15


class Pairs(NamedTuple):
    """Pairs of objects and anchors.

    Attributes:
        objects (Tensor): (P, ) among G.
        anchors (AnchorIndex): (P, ) each.
        index (Tensor): (P, ) the anchors' position in map order, counted over
            the batch, among N * R.
    """

    objects: Tensor
    anchors: AnchorIndex
    index: Tensor

    def select(self, index: Union[slice, Tensor]) -> 'Pairs':
        """Take some of the pairs, by a slice or their positions."""
        return Pairs(
            take(self.objects, index),
            self.anchors.select(index),
            take(self.index, index),
        )


class Windows(NamedTuple):
    """Cells around each object, for each base anchor.

    Attributes:
        low (Tensor): (..., G, K, 2), the first cell in x and y.
        shape (Tensor): (..., G, K, 2), the number of cells in x and y.
    """

    low: Tensor
    shape: Tensor

    @property
    def numbers(self) -> Tensor:
        """Cells in each window, (..., G, K)."""
        return self.shape.prod(dim=-1, dtype=torch.int32)


class GridOverlaps:
    """IoUs of a batch's objects and anchors, where they are asked for.

    Args:
        calculator (BboxOverlaps2D): Computes IoUs.
        grid (AnchorGrid): The anchors.
        batch_bboxes (list[Tensor]): (n, 4) objects of each image, float32, in
            input pixels.
        inside (InsideCells, optional): Which anchors count. All by default.
    """

    def __init__(
        self,
        calculator: BboxOverlaps2D,
        grid: AnchorGrid,
        batch_bboxes: List[Tensor],
        inside: Optional[InsideCells] = None,
    ) -> None:
        self.calculator = calculator
        self.grid = grid
        self.boxes = boxes = torch.cat(batch_bboxes)
        self.num_objects = len(boxes)
        self.num_anchors = len(batch_bboxes) * grid.num_anchors
        ids = torch.arange(len(batch_bboxes), device=boxes.device)
        # Views, so that nothing is copied to the device.
        self.images = torch.cat(
            [ids[i].expand(len(x)) for i, x in enumerate(batch_bboxes)]
        )
        self._pitch = grid.widths.repeat(self.num_objects)
        self._first: Union[float, Tensor] = 0.0
        self._last = grid.lasts
        if inside is not None:
            self._first = inside.first[self.images]
            self._last = inside.last[self.images]
        # (G, 1, 2), (G, K, 2) and (G, K), the pairs in x and y.
        wh = (boxes[:, None, 2:] - boxes[:, None, :2]).clamp(min=0)
        self._least_wh = torch.min(wh, grid.base_wh)
        self._areas = wh.prod(dim=-1) + grid.base_areas
        # (G, K, 2): shifts of the base anchor, in pixels, between which it
        # overlaps the object in x and in y.
        self._from = boxes[:, None, :2] - grid.base_anchors[:, 2:]
        self._to = boxes[:, None, 2:] - grid.base_anchors[:, :2]

    def are_finite(self) -> Tensor:
        """Whether every coordinate is finite, and not astronomic."""
        return (self.boxes.abs() < _FINITE).all()

    def windows(self, iou: Union[float, Tensor]) -> Windows:
        """Cells of every pair that reaches an IoU, and some others.

        With areas a and b, an IoU of t takes an overlap of t / (1 + t)
        (a + b). Its extent in x is at least that over the lesser height,
        likewise in y.

        Args:
            iou (float | Tensor): One for all, or (..., G, K).
        """
        overlap = (1 - _MARGIN) * iou / (1 + iou) * self._areas
        extent = overlap[..., None] / self._least_wh.flip(-1)
        strides = self.grid.strides
        low = ((self._from + extent) / strides - _MARGIN).ceil()
        low = low.clamp(min=self._first)
        high = ((self._to - extent) / strides + _MARGIN).floor()
        shape = (torch.min(high, self._last) - low + 1).clamp(min=0)
        is_reached = self._least_wh.prod(dim=-1) >= overlap
        shape = shape * is_reached[..., None]
        return Windows(low.int(), shape.int())

    def block_ious(self, number: int) -> Tensor:
        """IoUs with the anchors of a block of cells around each object.

        Along a base anchor the IoU falls with the distance in x and in y.

        Args:
            number (int): How many anchors a block has at least.

        Returns:
            Tensor: (2, G, K), up to rounding: the IoU that all anchors of the
            block reach, and the highest of any anchor.
        """
        side = math.ceil(math.sqrt(number))
        centre = (self._from + self._to) / (2 * self.grid.strides)
        start = (centre - (side - 1) / 2).round()
        start = torch.min(start, self._last - (side - 1))
        start = start.clamp(min=self._first)
        cells = start[..., None] + torch.arange(side, device=start.device)
        shifts = cells * self.grid.strides[..., None]
        overlap = torch.min(
            self._to[..., None] - shifts, shifts - self._from[..., None]
        )
        overlap = torch.min(overlap, self._least_wh[..., None]).clamp(min=0)
        # Some are beyond the edge of a map that is smaller than the block.
        overlap = overlap * (cells <= self._last[..., None])
        overlap = torch.stack([overlap.amin(dim=-1), overlap.amax(dim=-1)])
        overlap = overlap.prod(dim=-1)
        return overlap / (self._areas - overlap)

    def pairs_in(self, windows: Windows, total: int) -> Pairs:
        """Pair objects with every anchor in their windows.

        Args:
            windows (Windows): (G, K, 2) each.
            total (int): The sum of their numbers.

        Returns:
            Pairs: Objects are ascending.
        """
        which, nth = ragged_arange(windows.numbers.flatten(), total)
        x, y = (part.flatten() for part in windows.low.unbind(-1))
        width = take(windows.shape[..., 0].flatten(), which)
        row = nth // width
        column = nth - row * width
        index = take(self._index(windows.low), which)
        pitch = take(self._pitch, which)
        bases = windows.low.shape[1]
        objects = which // bases
        return Pairs(
            objects.long(),
            AnchorIndex(
                which - objects * bases,
                take(x, which) + column,
                take(y, which) + row,
            ),
            (index + row * pitch + column).long(),
        )

    def find_in(
        self, windows: Windows, num_rows: int, index: Tensor
    ) -> Tuple[Tensor, Tensor]:
        """Find given anchors in the windows of objects.

        In map order the anchors of a window's row of cells follow each other,
        so they are looked up row by row.

        Args:
            windows (Windows): (G, K, 2) each.
            num_rows (int): How many rows of cells they have.
            index (Tensor): Anchors among N * R.

        Returns:
            tuple: (m, ) each: the object, and the position in ``index``, of
            each anchor that was found.
        """
        index, order = index.sort()
        which, row = ragged_arange(windows.shape[..., 1].flatten(), num_rows)
        first = take(self._index(windows.low), which)
        first = first + row * take(self._pitch, which)
        width = take(windows.shape[..., 0].flatten(), which)
        bounds = torch.stack([first, first + width]).long()
        first, last = torch.searchsorted(index, bounds)
        numbers = last - first
        row, nth = ragged_arange(numbers, int(numbers.sum()))
        objects = take(which, row) // windows.low.shape[1]
        return objects.long(), take(order, take(first, row) + nth)

    def _index(self, cells: Tensor) -> Tensor:
        """Position in map order, (G * K, ), of cells (G, K, 2)."""
        x, y = cells.unbind(-1)
        index = self.grid.starts + y * self.grid.widths + x
        index = index + self.images[:, None] * self.grid.num_anchors
        return index.int().flatten()

    def ious(self, pairs: Pairs) -> Tensor:
        """IoU of each pair, (P, )."""
        return self.calculator(
            take(self.boxes, pairs.objects),
            self.grid.boxes(pairs.anchors),
            is_aligned=True,
        )


# Keys that order pairs: [bits of the IoU: 31][object: 31].
OBJECT_BITS = (1 << 31) - 1


def iou_keys(overlaps: Tensor, objects: Tensor) -> Tensor:
    """Order pairs of an anchor: by IoU, and of equal ones the first object.

    Args:
        overlaps (Tensor): (P, ) IoUs. The bits of floats >= 0 are ordered as
            the floats are.
        objects (Tensor): (P, ).

    Returns:
        Tensor: (P, ), the largest of which wins the anchor.
    """
    return overlaps.view(torch.int32).long() << 31 | (OBJECT_BITS - objects)


def ragged_arange(numbers: Tensor, total: int) -> Tuple[Tensor, Tensor]:
    """Count from 0 to each of some numbers.

    Args:
        numbers (Tensor): (n, ).
        total (int): Their sum, for which the device is not asked.

    Returns:
        tuple: (total, ) each: which of the numbers, and the count.
    """
    int32 = dict(dtype=torch.int32, device=numbers.device)
    numbers = numbers.int()
    which = torch.arange(len(numbers), **int32)
    which = which.repeat_interleave(numbers, output_size=total)
    starts = numbers.cumsum(0, dtype=torch.int32) - numbers
    return which, torch.arange(total, **int32) - take(starts, which)
