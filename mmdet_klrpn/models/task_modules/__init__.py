"""Task modules: what heads are assembled from."""

from .assigners import (
    TopKMaxIoUAssigner,
    assign_on_grid,
    least_useful_iou,
)
from .coders import decode_delta_xywh_stds
from .prior_generators import AnchorGrid, Place, anchor_grid, take_rows
from .samplers import sample_batch

__all__ = [
    'AnchorGrid',
    'Place',
    'TopKMaxIoUAssigner',
    'anchor_grid',
    'assign_on_grid',
    'decode_delta_xywh_stds',
    'least_useful_iou',
    'sample_batch',
    'take_rows',
]
