"""Assignment of objects to anchors."""

from .grid_max_iou import assign_on_grid, least_useful_iou

__all__ = ['assign_on_grid', 'least_useful_iou']
