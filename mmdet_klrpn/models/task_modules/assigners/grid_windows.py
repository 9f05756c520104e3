"""Windows of cells that hold the anchors which an object overlaps enough.

Anchors lie on grids, so for each object and base anchor those whose IoU
reaches a threshold are within a window of cells, which follows from centres
and sizes. The unit of length is a cell of the level: IoUs are the same in it.

Shapes as in :mod:`..prior_generators.anchor_grid`, and
    G  objects of the batch, image after image
    W  windows of an object and a base anchor
"""

import math
from typing import NamedTuple, Optional, Union

import torch
from torch import Tensor

from ..prior_generators import AnchorGrid, InsideCells

# Anchors are rounded to float32, by up to 1e-3 pixels in an image of 10,000:
# windows are wider by this share of the overlap and of a cell.
_MARGIN = 0.01
# No anchor has such an IoU.
NO_IOU = 2.0


class Windows(NamedTuple):
    """Cells around each object, for each base anchor.

    Attributes:
        low (Tensor): (2, W, G, K), the first cell in x and y.
        shape (Tensor): (2, W, G, K), the number of cells in x and y.
    """

    low: Tensor
    shape: Tensor


class ObjectWindows:
    """Where objects overlap the anchors of a grid.

    Args:
        grid (AnchorGrid): The anchors.
        boxes (Tensor): (G, 4) objects, float32, in input pixels.
        images (Tensor): (G, ) image of each.
        inside (InsideCells, optional): Which anchors count. All by default.
    """

    def __init__(
        self,
        grid: AnchorGrid,
        boxes: Tensor,
        images: Tensor,
        inside: Optional[InsideCells] = None,
    ) -> None:
        # In x and y, (2, 1, G, K) unless one of them is 1. Cells from the
        # first to before the end count.
        self._first: Union[float, Tensor] = 0.0
        self._end = grid.ends
        if inside is not None:
            bounds = torch.stack([inside.first, inside.last + 1])[:, images]
            self._first, self._end = bounds.permute(0, 3, 1, 2).unsqueeze(2)
        low, high = (boxes.T[:, None, :, None] / grid.units).chunk(2)
        base_low, base_high = grid.base_cells.chunk(2)
        # Shifts of the base anchor between which it overlaps the object.
        self._from, self._to = low - base_high, high - base_low
        wh = (high - low).clamp(min=0)
        self._least = torch.min(wh, grid.base_wh)
        # (1, G, K): the overlap of concentric boxes, and the sum of the areas.
        self._most = self._least[0] * self._least[1]
        self._areas = wh[0] * wh[1] + grid.base_areas

    def centred_ious(self) -> Tensor:
        """IoUs (G, K) that no anchor exceeds, up to rounding."""
        return (self._most / (self._areas - self._most))[0]

    def block_ious(self, number: int) -> Tensor:
        """IoUs that so many anchors around each object reach.

        Along a base anchor the IoU falls with the distance in x and in y, so
        it is least in a corner of a block of cells.

        Args:
            number (int): How many anchors a block has at least.

        Returns:
            Tensor: (G, K), up to rounding; 0 where the map has no such block.
        """
        side = math.ceil(math.sqrt(number))
        first = torch.lerp(self._from, self._to, 0.5).sub_((side - 1) / 2)
        first = first.round_()
        first = torch.min(first.clamp(min=self._first), self._end - side)
        overlap = torch.min(self._to - first - (side - 1), first - self._from)
        overlap = torch.min(overlap, self._least).clamp(min=0)
        overlap = overlap * (first >= self._first)
        overlap = overlap[0] * overlap[1]
        return (overlap / (self._areas - overlap))[0]

    def reaching(
        self, iou: Union[float, Tensor], units: Optional[Tensor] = None
    ) -> Windows:
        """Cells of every pair that reaches an IoU, and some others.

        With areas a and b, an IoU of t takes an overlap of t / (1 + t)
        (a + b). Its extent in x is at least that over the lesser height,
        likewise in y.

        Args:
            iou (float | Tensor): One for all, or (W, G, K). There are no
                cells for ``NO_IOU``.
            units (Tensor, optional): (2, W, 1, 1), how many cells lie together
                in x and y. Windows are of whole units then, and in them.
        """
        overlap = (1 - _MARGIN) * iou / (1 + iou) * self._areas
        extent = overlap / self._least.flip(0)
        low = (self._from + extent).sub_(_MARGIN).ceil_()
        low = low.clamp_(min=self._first)
        end = (self._to - extent).add_(1 + _MARGIN).floor_()
        end = torch.min(end, self._end, out=end)
        if units is not None:
            low, end = low.div_(units).floor_(), end.div_(units).ceil_()
        shape = end.sub_(low).clamp_(min=0).mul_(overlap <= self._most)
        return Windows(low.long(), shape.long())
