"""Anchors."""

from .anchor_grid import (
    STRIP,
    AnchorGrid,
    AnchorIndex,
    anchor_grid,
    areas,
    corners,
    grid_of_maps,
    take,
)
from .inside_cells import InsideCells, inside_cells

__all__ = [
    'STRIP',
    'AnchorGrid',
    'AnchorIndex',
    'InsideCells',
    'anchor_grid',
    'areas',
    'corners',
    'grid_of_maps',
    'inside_cells',
    'take',
]
