"""Anchors of a feature pyramid, computed only where needed.

Vocabulary and shapes, for this file and those that import it:
    L     levels
    A     base anchors per location of a level
    K     base anchors over all levels, the sum of A
    N     images in the batch
    R     anchors of an image over all levels, the sum of A * H * W
    cell  a location x, y of a level, in units of its stride
    map order  level by level, base anchor by base anchor, row by row: the
          order of predictions in maps of (A, H, W)
    mmdet's order  level by level, row by row, cell by cell, the base anchors
          of a cell together: the order of AnchorGenerator
"""

from functools import cached_property, lru_cache
from typing import Dict, List, NamedTuple, Sequence, Tuple, Union

import torch
from mmdet.models.task_modules.prior_generators import AnchorGenerator
from mmdet.structures.bbox import cat_boxes, get_box_tensor
from torch import Tensor

# Rows of cells in a strip.
STRIP = 8


class AnchorIndex(NamedTuple):
    """Anchors by base anchor and cell.

    Attributes:
        base (Tensor): Base anchor among K, of any shape.
        x (Tensor): Column, of the same shape.
        y (Tensor): Row, of the same shape.
    """

    base: Tensor
    x: Tensor
    y: Tensor

    def select(self, index: Union[slice, Tensor]) -> 'AnchorIndex':
        """Select some of (n, ) anchors, by a slice or positions."""
        return AnchorIndex(*(take(part, index) for part in self))


class Orders(NamedTuple):
    """Map order and strip order.

    Strip order goes base anchor by base anchor, eight rows of cells at a time,
    and through these column by column. A window of cells is in fewer pieces
    there. The last strip of a map counts rows that the map does not have.

    Attributes:
        starts (Tensor): (2, 1, K), where a base anchor starts in either order.
        sizes (Tensor): (2, 1, 1), positions of an image: R, and 8 * R, which
            is enough for maps of a single row.
        units (Tensor): (2, 2, 1, 1), by axis, x and y, and order: cells, 1 or
            8, that lie together.
        strides (Tensor): (2, 2, 1, K), by the same: positions from a unit to
            the next.
        shifts (Tensor): (R, ), in map order, what to add to 8 times an
            anchor's position in map order, for that in strip order.
    """

    starts: Tensor
    sizes: Tensor
    units: Tensor
    strides: Tensor
    shifts: Tensor


def take(values: Tensor, index: Union[slice, Tensor]) -> Tensor:
    """``values[index]`` for positions (n, ), several times faster on a CPU."""
    if isinstance(index, slice):
        return values[index]
    return values.index_select(0, index)


class AnchorGrid:
    """Tables from which to compute any anchor.

    Args:
        generator (AnchorGenerator): Gives base anchors and strides.
        featmap_sizes (Sequence[tuple[int, int]]): H, W of each level.
        device (torch.device): Device of the tables.
    """

    def __init__(
        self,
        generator: AnchorGenerator,
        featmap_sizes: Sequence[Tuple[int, int]],
        device: torch.device,
    ) -> None:
        self.generator = generator
        self.featmap_sizes = featmap_sizes
        self.device = device
        # In a trace sizes are tensors, which are not keys and are summed in
        # place.
        self.num_bases = [int(x) for x in generator.num_base_priors]
        layout, orders, first = [], [], 0
        for (height, width), count in zip(featmap_sizes, self.num_bases):
            area = height * width
            for base in range(count):
                start = first + base * area
                layout.append((start, first, count * area, area, width))
            order = torch.arange(first, first + count * area)
            orders.append(order.view(count, area).T.flatten())
            first += count * area
        self.num_anchors = first
        # (R, ), position in map order of each anchor in mmdet's order.
        self.mmdet_order = torch.cat(orders).to(device)
        # (K, ) each: start of a base anchor in map order, and of its level;
        # anchors in its level; cells in its map and in a row.
        layout = torch.tensor(layout, device=device)
        self.starts, self._first, self._sizes, self._areas, self.widths = (
            layout.T.contiguous().unbind()
        )
        self._starts_and_widths = layout[:, [0, 4]].contiguous()

        # Tables for predictions, made on demand.
        self._tables: Dict[tuple, Tensor] = {}

        counts = torch.tensor(self.num_bases)
        levels = torch.arange(len(counts)).repeat_interleave(counts)
        self.base_anchors = torch.cat(generator.base_anchors).to(device)
        # (K, 2) each: stride and last cell of the level, in x and y.
        strides = torch.tensor(generator.strides, dtype=torch.float32)
        self.strides = strides[levels].to(device)
        self._anchors_and_strides = torch.cat(
            [self.base_anchors, self.strides, self.strides], dim=1
        )
        sizes = torch.tensor(featmap_sizes).flip(1)[levels].to(device)
        self.lasts = sizes - 1.0
        # In x and y, (2 or 4, 1, 1, K): strides, and base anchors, their
        # extents and areas (1, 1, K), and maps in units of them.
        table = self._anchors_and_strides.T.contiguous()[:, None, None]
        self.units = table[4:]
        self.base_cells = table[:4] / self.units
        self.base_wh = self.base_cells[2:] - self.base_cells[:2]
        self.base_areas = self.base_wh[0] * self.base_wh[1]
        self.ends = sizes.T.contiguous()[:, None, None]
        self.levels = levels.to(device)

    @property
    def is_regular(self) -> bool:
        """Whether all anchors are base anchors shifted by whole strides."""
        return type(self.generator) is AnchorGenerator

    def locate(self, index: Tensor) -> AnchorIndex:
        """Anchors at positions among R in map order, of any shape."""
        base = torch.bucketize(index, self.starts[1:], right=True)
        start, width = self._starts_and_widths[base].unbind(dim=-1)
        cell = index - start
        return AnchorIndex(base, cell % width, cell // width)

    def from_mmdet(self, index: Tensor) -> Tensor:
        """Convert positions among N * R from mmdet's order to map order."""
        images = index // self.num_anchors * self.num_anchors
        return images + self.mmdet_order[index - images]

    def mmdet_index(self, anchors: AnchorIndex) -> Tensor:
        """Positions of anchors among R in mmdet's order."""
        base, x, y = anchors
        first, area = self._first[base], self._areas[base]
        cell = y * self.widths[base] + x
        count = self._sizes[base] // area
        return first + cell * count + (self.starts[base] - first) // area

    def boxes(
        self, anchors: AnchorIndex, dtype: torch.dtype = torch.float32
    ) -> Tensor:
        """Compute anchor boxes, bit for bit those of ``grid_priors``.

        Args:
            anchors (AnchorIndex): (n, ) each.
            dtype (torch.dtype): Precision to compute in.

        Returns:
            Tensor: (n, 4), x1, y1, x2, y2 in input pixels.
        """
        base, x, y = anchors
        if not self.is_regular:
            index = self.starts[base] + y * self.widths[base] + x
            return self.all_boxes(dtype)[index]
        cells = torch.stack([x, y, x, y], dim=-1)
        table = take(self._anchors_and_strides.to(dtype), base)
        base_anchors, strides = table.chunk(2, dim=-1)
        return base_anchors + cells * strides

    def all_boxes(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """All anchors in map order, (R, 4), from the generator."""
        boxes = self.generator.grid_priors(
            self.featmap_sizes, dtype=dtype, device=self.device
        )
        boxes = get_box_tensor(cat_boxes(boxes))
        return torch.empty_like(boxes).index_copy(0, self.mmdet_order, boxes)

    @cached_property
    def columns(self) -> Tensor:
        """x1, y1, x2, y2 of all anchors in map order, (4, R), cached."""
        return self.all_boxes().T.contiguous()

    @cached_property
    def corners(self) -> Tensor:
        """(x1, y1) and (x2, y2) of every anchor in map order, as x + iy.

        Of shape (2, R), kept. To take x and y at once is several times as fast
        as to take one after the other.
        """
        return corners(self.columns.T.contiguous()).contiguous()

    @cached_property
    def areas(self) -> Tensor:
        """Areas of every anchor in map order, (R, ), kept."""
        return areas(self.columns.T)

    @cached_property
    def orders(self) -> Orders:
        """See :class:`Orders`."""
        starts, strips, total = [], [], 0
        for (height, width), count in zip(self.featmap_sizes, self.num_bases):
            y = torch.arange(height)[:, None]
            cells = (y // STRIP * width + torch.arange(width)) * STRIP
            cells = (cells + y % STRIP).flatten()
            for _ in range(count):
                starts.append(total)
                strips.append(total + cells)
                total += -(-height // STRIP) * STRIP * width
        starts = torch.tensor(starts, device=self.device)
        order = torch.arange(self.num_anchors)
        sizes = torch.tensor([1, STRIP], device=self.device) * self.num_anchors
        units = torch.tensor([[1, 1], [1, STRIP]], device=self.device)
        units = units[..., None, None]
        strides = [units[1].expand(-1, -1, len(self.widths))]
        strides.append(units[1] * self.widths)
        return Orders(
            torch.stack([self.starts, starts])[:, None],
            sizes[:, None, None],
            units.float(),
            torch.stack(strides),
            (torch.cat(strips) - STRIP * order).to(self.device),
        )

    def gather(
        self, images: Tensor, anchors: AnchorIndex, *maps: List[Tensor]
    ) -> Tuple[Tensor, ...]:
        """Gather the predictions of anchors from all levels at once.

        Args:
            images (Tensor): (n, ) image of each anchor.
            anchors (AnchorIndex): (n, ) each.
            *maps (list[Tensor]): Each (N, A * C, H, W) per level.

        Returns:
            tuple[Tensor]: (n, C) for each of ``maps``, in their highest
            precision.
        """
        num_images = len(maps[0][0])
        base, x, y = anchors
        counts = [
            int(levels[0].shape[1]) // self.num_bases[0] for levels in maps
        ]
        table = self._channels(num_images, tuple(counts))
        index = take(table, images * len(self.starts) + base)
        index = index + (y * take(self.widths, base) + x)[:, None]
        # One read, whose gradient is one deterministic write: index_add.
        flat = torch.cat([x.reshape(-1) for levels in maps for x in levels])
        values = flat.index_select(0, index.flatten()).view(index.shape)
        return values.split(counts, dim=1)

    def _channels(self, num_images: int, counts: Tuple[int, ...]) -> Tensor:
        """Start of each base anchor's channels in the concatenated maps.

        Args:
            num_images (int): N.
            counts (tuple[int]): Channels per anchor of each kind of map.

        Returns:
            Tensor: (N * K, sum of counts).
        """
        key = num_images, counts
        if key not in self._tables:
            images = torch.arange(num_images, device=self.device)[:, None]
            row = num_images * self._first + images * self._sizes
            row = row + self.starts - self._first
            tables, start = [], 0
            for count in counts:
                channels = torch.arange(count, device=self.device)
                # An anchor's channels follow each other.
                channels = channels * self._areas[:, None]
                tables.append(start + row[..., None] * count + channels)
                start += count * num_images * self.num_anchors
            self._tables[key] = torch.cat(tables, dim=-1).flatten(0, 1)
        return self._tables[key]


def corners(boxes: Tensor) -> Tensor:
    """(x1, y1) and (x2, y2), (2, n), as complex x + iy, of boxes (n, 4)."""
    return torch.view_as_complex(boxes.view(-1, 2, 2)).T


def areas(boxes: Tensor) -> Tensor:
    """Areas (n, ) of boxes (n, 4)."""
    width, height = (boxes[:, 2:] - boxes[:, :2]).unbind(dim=1)
    return width * height


@lru_cache(maxsize=64)
def anchor_grid(
    generator: AnchorGenerator,
    featmap_sizes: Tuple[Tuple[int, int], ...],
    device: torch.device,
) -> AnchorGrid:
    """Build an :class:`AnchorGrid`, once for the same arguments."""
    return AnchorGrid(generator, featmap_sizes, device)


def grid_of_maps(generator: AnchorGenerator, maps: List[Tensor]) -> AnchorGrid:
    """Get the :class:`AnchorGrid` of predictions (N, any, H, W) per level."""
    sizes = tuple(tuple(map(int, level.shape[-2:])) for level in maps)
    return anchor_grid(generator, sizes, maps[0].device)
