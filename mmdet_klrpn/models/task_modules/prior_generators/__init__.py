"""Anchors."""

from .anchor_grid import AnchorGrid, AnchorIndex, anchor_grid, take
from .inside_cells import InsideCells, inside_cells

__all__ = [
    'AnchorGrid',
    'AnchorIndex',
    'InsideCells',
    'anchor_grid',
    'inside_cells',
    'take',
]
