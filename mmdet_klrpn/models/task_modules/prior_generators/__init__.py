"""Anchors."""

from .anchor_grid import AnchorGrid, Place, anchor_grid, take_rows

__all__ = ['AnchorGrid', 'Place', 'anchor_grid', 'take_rows']
