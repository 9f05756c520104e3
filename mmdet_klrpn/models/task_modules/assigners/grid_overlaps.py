"""Pairs of an object and an anchor of a grid, and their IoUs.

IoUs are computed for the pairs that are asked for only, with the assigner's
own calculator.

Shapes as in :mod:`..prior_generators.anchor_grid`, and
    G  objects of the batch, image after image
    P  pairs of an object and an anchor
"""

from typing import List, NamedTuple, Optional, Tuple

import torch
from mmdet.models.task_modules.assigners import BboxOverlaps2D
from torch import Tensor

from ..prior_generators import AnchorGrid, take
from .grid_windows import Windows

# Objects with larger coordinates may have an area that is not finite.
MOST = 1e15


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
    """Rows of windows: anchors that follow each other in map order.

    Attributes:
        objects (Tensor): (n, ) whose windows they are, among G.
        first (Tensor): (n, ) the first anchor among N * R.
        width (Tensor): (n, ) the number of anchors.
    """

    objects: Tensor
    first: Tensor
    width: Tensor


class GridOverlaps:
    """IoUs of a batch's objects and anchors, where they are asked for.

    Args:
        calculator (BboxOverlaps2D): Computes IoUs.
        grid (AnchorGrid): The anchors.
        batch_bboxes (list[Tensor]): (n, 4) objects of each image, float32, in
            input pixels.
    """

    def __init__(
        self,
        calculator: BboxOverlaps2D,
        grid: AnchorGrid,
        batch_bboxes: List[Tensor],
    ) -> None:
        self.calculator = calculator
        self.grid = grid
        # Column by column, which makes the calculator twice as fast on a CPU.
        self._columns = torch.cat([x.T for x in batch_bboxes], dim=1)
        self.boxes = self._columns.T
        self.num_objects = len(self.boxes)
        self.num_anchors = len(batch_bboxes) * grid.num_anchors
        self._ids = torch.arange(
            max(len(batch_bboxes), self.num_objects), device=self.boxes.device
        )
        # Views, so that nothing is copied to the device.
        self.images = torch.cat(
            [self._ids[i].expand(len(x)) for i, x in enumerate(batch_bboxes)]
        )
        # Where the anchors of an object's image start.
        self._starts = self.images * grid.num_anchors

    def count(self, windows: Windows) -> Optional[List[int]]:
        """Ask the device, once, for the sizes of what follows from windows.

        Args:
            windows (Windows): (2, W, G, K) each.

        Returns:
            list[int] | None: The cells of the first of W, then the rows of
            each. None if a box is not finite.
        """
        width, height = windows.shape
        cells = (width[:1] * height[:1]).sum((1, 2))
        counts = torch.cat([cells, height.sum((1, 2))])
        is_finite = largest(self.boxes) < MOST
        counts = torch.where(is_finite, counts, -1).tolist()
        return None if counts[0] < 0 else counts

    def runs_of(self, windows: Windows, total: int) -> Runs:
        """Split windows into their rows.

        Args:
            windows (Windows): (2, W, G, K) each.
            total (int): How many rows they have.
        """
        (x, y), (width, height) = windows
        pitch = self.grid.widths
        first = y * pitch + x + self.grid.starts + self._starts[:, None]
        objects = self._ids[: self.num_objects, None]
        which, row = ragged_arange(height.flatten(), total)
        table = torch.broadcast_tensors(objects, first, width, pitch)
        table = torch.stack(table).flatten(1).index_select(1, which)
        objects, first, width, pitch = table
        return Runs(objects, first + row * pitch, width)

    def pairs_in(self, runs: Runs, total: int) -> Pairs:
        """Pair objects with every anchor in their runs.

        Args:
            runs (Runs): Whose objects are ascending.
            total (int): How many anchors they have.

        Returns:
            Pairs: Objects are ascending.
        """
        which, index = ragged_arange(runs.width, total, runs.first)
        return self._pairs(take(runs.objects, which), index)

    def find_in(self, runs: Runs, index: Tensor) -> Pairs:
        """Pair objects with those of given anchors that are in their runs.

        Args:
            runs (Runs): Rows of windows.
            index (Tensor): Anchors among N * R.
        """
        index = index.int().sort().values  # twice as fast as of 64 bits
        bounds = torch.stack([runs.first, runs.first + runs.width]).int()
        first, last = torch.searchsorted(index, bounds)
        numbers = last - first
        which, nth = ragged_arange(numbers, int(numbers.sum()), first)
        return self._pairs(take(runs.objects, which), take(index, nth).long())

    def _pairs(self, objects: Tensor, index: Tensor) -> Pairs:
        """Compute the IoU of each pair, (P, ) both."""
        anchors = index - take(self._starts, objects)
        boxes = self._columns.index_select(1, objects)
        priors = self.grid.columns.index_select(1, anchors)
        overlaps = self.calculator(boxes.T, priors.T, is_aligned=True)
        return Pairs(objects, index, overlaps)


def largest(boxes: Tensor) -> Tensor:
    """The largest coordinate, or NaN if there is one."""
    return boxes.abs().max()


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
