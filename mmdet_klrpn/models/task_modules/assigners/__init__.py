"""Assignment of objects to anchors."""

from .grid_max_iou import assign_on_grid, least_useful_iou
from .topk_max_iou_assigner import TopKMaxIoUAssigner

__all__ = ['TopKMaxIoUAssigner', 'assign_on_grid', 'least_useful_iou']
