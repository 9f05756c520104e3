"""Visualization."""

from .calibration import draw_coverage, draw_reliability
from .images import seen_image
from .overview import draw_overview, render
from .proposals import (
    draw_boxes,
    draw_proposals,
    draw_std_map,
    std_band,
    std_map,
)
from .std_det_visualizer import StdDetLocalVisualizer

__all__ = [
    'StdDetLocalVisualizer',
    'draw_boxes',
    'draw_coverage',
    'draw_overview',
    'draw_proposals',
    'draw_reliability',
    'draw_std_map',
    'render',
    'seen_image',
    'std_band',
    'std_map',
]
