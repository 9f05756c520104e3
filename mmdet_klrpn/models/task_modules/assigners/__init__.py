"""Assignment of objects to anchors."""

from .grid_max_iou import assign_on_grid, why_not_on_grid
from .grid_overlaps import ragged_arange
from .topk_max_iou_assigner import TopKMaxIoUAssigner

__all__ = [
    'TopKMaxIoUAssigner',
    'assign_on_grid',
    'ragged_arange',
    'why_not_on_grid',
]
