"""Pairs of an object and an anchor of a grid that overlap enough.

Anchors lie on grids, so for each object and base anchor those whose IoU
reaches a threshold are within a window of cells, which follows from centres
and sizes. IoUs are computed for the windows only, with the assigner's own
calculator.

Shapes as in :mod:`..prior_generators.anchor_grid`, and
    G  objects of the batch, image after image
    P  candidate pairs of an object and an anchor
"""

from typing import List, NamedTuple, Optional, Tuple

import torch
from mmdet.models.task_modules.assigners import BboxOverlaps2D
from torch import Tensor

from ..prior_generators.anchor_grid import AnchorGrid, Place

# Anchors are rounded to float32, by up to 1e-3 pixels in an image of 10,000:
# windows are wider by this share of the overlap and of a cell.
_MARGIN = 0.01
# Objects with larger coordinates may have an area that is not finite.
_FINITE = 1e15


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

    def extended(self, others: 'Pairs') -> 'Pairs':
        """These, then the others."""
        return Pairs(*map(torch.cat, zip(self, others)))


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

    def of(self, objects: Tensor) -> 'Windows':
        """Without those of the objects (G, ) that are False."""
        return self._replace(numbers=self.numbers * objects[:, None])


class GridOverlaps:
    """IoUs of a batch's objects and anchors, where they are asked for.

    Args:
        calculator (BboxOverlaps2D): Of IoUs.
        grid (AnchorGrid): The anchors.
        batch_bboxes (list[Tensor]): (n, 4) objects of each image, float32, in
            input pixels.
        inside (Tensor, optional): (N, R), which anchors count. All by default.
    """

    def __init__(
        self,
        calculator: BboxOverlaps2D,
        grid: AnchorGrid,
        batch_bboxes: List[Tensor],
        inside: Optional[Tensor] = None,
    ) -> None:
        self.calculator = calculator
        self.grid = grid
        self.boxes = torch.cat(batch_bboxes)
        self.inside = None if inside is None else inside.flatten()
        lengths = torch.tensor([len(bboxes) for bboxes in batch_bboxes])
        images = torch.arange(len(lengths)).repeat_interleave(
            lengths, output_size=len(self.boxes)
        )
        self.images = images.to(self.boxes.device)
        self.num_objects = len(self.boxes)
        self.num_anchors = len(lengths) * grid.num_anchors

    def windows(self, least_iou: float) -> Windows:
        """Cells of every pair of such an IoU or more, and some others.

        With areas a and b, an IoU of t takes an overlap of t / (1 + t)
        (a + b). Its extent in x is at least that over the lesser height,
        likewise in y.
        """
        boxes, grid = self.boxes, self.grid
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

    def within(self, windows: Windows) -> Optional[Pairs]:
        """Pairs of the objects and every anchor in their windows.

        Returns:
            Pairs | None: None if an object's coordinates are not finite, or
            astronomic.
        """
        # The only copy to the host: the number of pairs, -1 if not finite.
        finite = (self.boxes.abs() < _FINITE).all()
        total = int(torch.where(finite, windows.numbers.sum(), -1))
        if total < 0:
            return None
        objects, place = _expand(windows, total)
        index = self.grid.index(place)
        index = self.images[objects] * self.grid.num_anchors + index
        return self._pairs(objects, place, index)

    def among(self, windows: Windows, anchors: Tensor) -> Pairs:
        """Pairs of the objects and those anchors that are in their windows.

        Args:
            windows (Windows): Must be of finite objects.
            anchors (Tensor): (n, ) among N * R.

        Returns:
            Pairs: Found row by row of cells, where the anchors are sorted.
        """
        grid = self.grid
        place = grid.locate(anchors % grid.num_anchors)
        keys = self._key(anchors // grid.num_anchors, place)
        keys, order = keys.sort()
        heights = windows.numbers // windows.widths.clamp(min=1)
        rows = Windows(windows.low, torch.ones_like(heights), heights)
        objects, start = _expand(rows, int(heights.sum()))
        first = self._key(self.images[objects], start)
        last = first + windows.widths[objects, start.base]
        first = torch.searchsorted(keys, first)
        numbers = torch.searchsorted(keys, last) - first
        row, nth = _list(numbers, int(numbers.sum()))
        found = order[first[row] + nth]
        return self._pairs(objects[row], place.at(found), anchors[found])

    def count(self, pairs: Pairs, counts: Tensor) -> Tensor:
        """How many pairs of each object (G, ) are true, of (P, ) bools."""
        number = torch.zeros_like(self.images)
        return number.scatter_add_(0, pairs.objects, counts.long())

    def _pairs(self, objects: Tensor, place: Place, index: Tensor) -> Pairs:
        overlaps = self.calculator(
            self.boxes[objects], self.grid.boxes(place), is_aligned=True
        )
        if self.inside is not None:
            overlaps = overlaps * self.inside[index]
        return Pairs(overlaps, objects, index)

    def _key(self, images: Tensor, place: Place) -> Tensor:
        """Places (n, ) of a batch as numbers, consecutive along a row."""
        heights, widths = zip(*self.grid.featmap_sizes)
        key = images * sum(self.grid.num_bases) + place.base
        return (key * max(heights) + place.y) * max(widths) + place.x


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
    which, nth = _list(numbers, total)
    width = widths[which]
    x, y = low[which].unbind(dim=1)
    place = Place(which % bases, x + nth % width, y + nth // width)
    return which // bases, place


def _list(numbers: Tensor, total: int) -> Tuple[Tensor, Tensor]:
    """Which of ``numbers``, and where among its own: (total, ) each."""
    which = torch.arange(len(numbers), device=numbers.device)
    which = which.repeat_interleave(numbers, output_size=total)
    starts = numbers.cumsum(0) - numbers
    nth = torch.arange(total, device=numbers.device) - starts[which]
    return which, nth
