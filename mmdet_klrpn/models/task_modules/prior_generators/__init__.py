"""Anchors."""

from .anchor_grid import (
    AnchorGrid,
    AnchorIndex,
    anchor_grid,
    grid_of_maps,
    take,
)
from .inside_cells import InsideCells, inside_cells

__all__ = [
    'AnchorGrid',
    'AnchorIndex',
    'InsideCells',
    'anchor_grid',
    'grid_of_maps',
    'inside_cells',
    'take',
]
