"""Anchors."""

from .anchor_grid import AnchorGrid, Place, anchor_grid

__all__ = ['AnchorGrid', 'Place', 'anchor_grid']
