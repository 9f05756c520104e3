"""Find the anchors that lie inside their image, axis by axis.

Shapes as in :mod:`.anchor_grid`, and
    C  cells along the longest side of any level
"""

from typing import List, Optional, Tuple

import torch
from torch import Tensor

from .anchor_grid import AnchorGrid


class InsideCells:
    """Columns and rows of cells whose anchors are inside their image.

    An anchor is inside if its column and its row are: the generator's
    ``valid_flags`` and mmdet's ``anchor_inside_flags`` both test x and y
    separately.

    Args:
        flags (Tensor): (N, K, 2, C), bool, of columns and rows. Along each
            axis the True ones are consecutive.
        grid (AnchorGrid): The anchors.

    Attributes:
        first (Tensor): (N, K, 2), the first column and row inside.
        last (Tensor): (N, K, 2), the last ones; -1 if there is none.
    """

    def __init__(self, flags: Tensor, grid: AnchorGrid) -> None:
        self.flags = flags
        self.grid = grid
        cells = torch.arange(flags.shape[-1], device=flags.device).float()
        self.first = torch.where(flags, cells, cells.numel()).amin(dim=-1)
        self.last = torch.where(flags, cells, -1.0).amax(dim=-1)

    def are_anywhere(self) -> Tensor:
        """Whether every image has an anchor inside, a scalar."""
        exists = (self.last >= self.first).all(dim=2)
        return exists.any(dim=1).all()

    def mask(self) -> Tensor:
        """Whether anchors are inside, (N, R), in map order."""
        columns, rows = self.flags.unbind(dim=2)
        masks, first = [], 0
        for (height, width), count in zip(
            self.grid.featmap_sizes, self.grid.num_bases
        ):
            level = slice(first, first + count)
            inside = (
                rows[:, level, :height, None] & columns[:, level, None, :width]
            )
            masks.append(inside.flatten(1))
            first += count
        return torch.cat(masks, dim=1)


def inside_cells(
    grid: AnchorGrid, batch_img_metas: List[dict], border: float
) -> Optional[InsideCells]:
    """Find the anchors that are inside their image.

    Args:
        grid (AnchorGrid): The anchors.
        batch_img_metas (list[dict]): ``pad_shape`` and ``img_shape`` of each
            of N images.
        border (float): How far, in pixels, anchors may extend beyond the
            image. Below 0: any distance.

    Returns:
        InsideCells | None: None if all anchors are inside.
    """
    strides = grid.generator.strides
    # The cells that the generator's ``valid_flags`` counts.
    valid = [
        [(-(-w // s[0]), -(-h // s[1])) for s in strides]
        for h, w in (meta['pad_shape'][:2] for meta in batch_img_metas)
    ]
    if border < 0 and all(
        columns >= width and rows >= height
        for image in valid
        for (columns, rows), (height, width) in zip(image, grid.featmap_sizes)
    ):
        return None
    longest = max(max(size) for size in grid.featmap_sizes)
    cells = torch.arange(longest, dtype=torch.float32, device=grid.device)
    numbers = torch.tensor(valid, device=grid.device)[:, grid.levels]
    flags = (cells < numbers[..., None]) & (cells <= grid.lasts[..., None])
    if border >= 0:
        low, high = _edges(grid, cells)
        shapes = [meta['img_shape'][1::-1] for meta in batch_img_metas]
        limits = torch.tensor(shapes, device=grid.device) + border
        flags &= (low >= -border) & (high < limits[:, None, :, None])
    return InsideCells(flags, grid)


def _edges(grid: AnchorGrid, cells: Tensor) -> Tuple[Tensor, Tensor]:
    """Low and high edges, (K, 2, C), of anchors in x and y, in pixels."""
    shifts = cells * grid.strides[..., None]
    base = grid.base_anchors[..., None]
    return base[:, :2] + shifts, base[:, 2:] + shifts
