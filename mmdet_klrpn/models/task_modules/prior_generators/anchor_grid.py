"""The anchors of a feature pyramid, laid out only where they are asked for.

Vocabulary and shapes, for this file and those that import it:
    L     levels
    A     base anchors per location of a level
    K     base anchors over all levels, the sum of A
    N     images in the batch
    R     anchors of an image over all levels, the sum of A * H * W
    cell  a location x, y of a level, in units of its stride
"""

from functools import lru_cache
from typing import List, NamedTuple, Sequence, Tuple, Union

import torch
from mmdet.models.task_modules.prior_generators import AnchorGenerator
from mmdet.structures.bbox import cat_boxes, get_box_tensor
from torch import Tensor


class Place(NamedTuple):
    """Where anchors lie: their base anchor among K and cell, each (n, )."""

    base: Tensor
    x: Tensor
    y: Tensor

    def at(self, index: Union[int, slice, Tensor]) -> 'Place':
        """Some of them, by an index as of each tensor."""
        return Place(*(part[index] for part in self))


class AnchorGrid:
    """Tables from which any anchor follows in closed form.

    An index counts anchors as :class:`AnchorGenerator` lays them out: level by
    level, row by row, cell by cell, the base anchors of a cell together.

    Args:
        generator (AnchorGenerator): Gives base anchors and strides.
        featmap_sizes (Sequence[tuple[int, int]]): H, W of each level.
        device (torch.device): Where the tables lie.
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
        self.num_bases = generator.num_base_priors
        starts, first_bases, firsts = [0], [0], []
        for (height, width), count in zip(featmap_sizes, self.num_bases):
            firsts += range(starts[-1], starts[-1] + count)
            starts.append(starts[-1] + height * width * count)
            first_bases.append(first_bases[-1] + count)
        self.num_anchors = starts[-1]
        self.first_bases = first_bases[:-1]

        counts = torch.tensor(self.num_bases)
        levels = torch.arange(len(counts)).repeat_interleave(counts)
        self.base_anchors = torch.cat(generator.base_anchors).to(device)
        self.base_wh = self.base_anchors[:, 2:] - self.base_anchors[:, :2]
        self.base_areas = self.base_wh.prod(dim=1)
        # (K, ...) each: stride and last cell of the level in x and y, its
        # width and A, and the index of the base anchor at the first cell.
        strides = torch.tensor(generator.strides, dtype=torch.float32)
        self.strides = strides[levels].to(device)
        sizes = torch.tensor(featmap_sizes).flip(1)[levels].to(device)
        self.lasts = sizes - 1.0
        self.widths = sizes[:, 0]
        self.counts = counts[levels].to(device)
        self.firsts = torch.tensor(firsts, device=device)
        # (L - 1, ) where levels after the first start, and (L, ) among K.
        self._starts = torch.tensor(starts[1:-1], device=device)
        self._first_bases = torch.tensor(self.first_bases, device=device)

    @property
    def is_regular(self) -> bool:
        """Whether anchors are base anchors moved by whole strides."""
        return type(self.generator) is AnchorGenerator

    def locate(self, index: Tensor) -> Place:
        """Place of anchors, index (n, ) among R."""
        level = torch.bucketize(index, self._starts, right=True)
        base = self._first_bases[level]
        local = index - self.firsts[base]
        count, width = self.counts[base], self.widths[base]
        cell = local // count
        return Place(base + local % count, cell % width, cell // width)

    def index(self, place: Place) -> Tensor:
        """Index of anchors among R, (n, )."""
        cell = place.y * self.widths[place.base] + place.x
        return self.firsts[place.base] + cell * self.counts[place.base]

    def boxes(
        self, place: Place, dtype: torch.dtype = torch.float32
    ) -> Tensor:
        """Anchors, bit for bit those of ``grid_priors``.

        Args:
            place (Place): Of n anchors.
            dtype (torch.dtype): Precision to compute in.

        Returns:
            Tensor: (n, 4), x1, y1, x2, y2 in input pixels.
        """
        if not self.is_regular:
            return self.all_boxes(dtype)[self.index(place)]
        cells = torch.stack([place.x, place.y], dim=-1).to(dtype)
        shifts = cells * self.strides.to(dtype)[place.base]
        return self.base_anchors.to(dtype)[place.base] + shifts.repeat(1, 2)

    def all_boxes(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """Every anchor, (R, 4), laid out by the generator itself."""
        boxes = self.generator.grid_priors(
            self.featmap_sizes, dtype=dtype, device=self.device
        )
        return get_box_tensor(cat_boxes(boxes))

    def gather(
        self, images: Tensor, place: Place, *maps: List[Tensor]
    ) -> List[Tensor]:
        """Predictions of some anchors, without rearranging the maps.

        Args:
            images (Tensor): (n, ) image of each anchor.
            place (Place): Of n anchors.
            *maps (list[Tensor]): Each (N, A * C, H, W) per level.

        Returns:
            list[Tensor]: (n, C) of each of ``maps``.
        """
        rows = [None] * len(maps)
        for *level, first, count in zip(
            *maps, self.first_bases, self.num_bases
        ):
            # Anchors of other levels get any row, which a later level replaces
            # or an earlier one keeps: nobody need know how many they are.
            height, width = level[0].shape[-2:]
            base = (place.base - first).clamp(0, count - 1)
            x, y = place.x.clamp(max=width - 1), place.y.clamp(max=height - 1)
            for i, values in enumerate(level):
                values = take_rows(values, count, images, Place(base, x, y))
                if first > 0:
                    here = (place.base >= first)[:, None]
                    values = torch.where(here, values, rows[i])
                rows[i] = values
        return rows


def take_rows(
    level: Tensor, count: int, images: Tensor, place: Place
) -> Tensor:
    """Predictions of some anchors of one level.

    Args:
        level (Tensor): (N, A * C, H, W).
        count (int): A.
        images (Tensor): Image of each anchor, of any shape.
        place (Place): Likewise; base anchors are counted within the level.

    Returns:
        Tensor: Of that shape, and C.
    """
    _, channels, height, width = level.shape
    channels = channels // count
    row = (images * count + place.base) * channels
    rows = row[..., None] + torch.arange(channels, device=level.device)
    cell = place.y * width + place.x
    index = rows * (height * width) + cell[..., None]
    # One index of the whole map: the gradient of others passes through copies.
    # That of take has no deterministic form on CUDA.
    rows = level.reshape(-1).index_select(0, index.flatten())
    return rows.view(index.shape)


@lru_cache(maxsize=64)
def anchor_grid(
    generator: AnchorGenerator,
    featmap_sizes: Tuple[Tuple[int, int], ...],
    device: torch.device,
) -> AnchorGrid:
    """The :class:`AnchorGrid` of these arguments, built once."""
    return AnchorGrid(generator, featmap_sizes, device)
