"""Task modules: parts that heads are built from."""

from .assigners import (
    TopKMaxIoUAssigner,
    assign_on_grid,
    why_not_on_grid,
)
from .coders import decode_delta_xywh_stds
from .prior_generators import (
    AnchorGrid,
    AnchorIndex,
    InsideCells,
    anchor_grid,
    grid_of_maps,
    inside_cells,
    take,
)
from .samplers import sample_batch, sample_stratified

__all__ = [
    'AnchorGrid',
    'AnchorIndex',
    'InsideCells',
    'TopKMaxIoUAssigner',
    'anchor_grid',
    'assign_on_grid',
    'decode_delta_xywh_stds',
    'grid_of_maps',
    'inside_cells',
    'sample_batch',
    'sample_stratified',
    'take',
    'why_not_on_grid',
]
