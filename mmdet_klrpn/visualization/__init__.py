"""Visualization."""

from .calibration import draw_coverage, draw_reliability
from .first_stage import FirstStage, propose, rpn_head
from .overview import draw_overview, render
from .proposals import (
    draw_boxes,
    draw_proposals,
    draw_std_map,
    std_band,
    std_map,
)

__all__ = [
    'FirstStage',
    'draw_boxes',
    'draw_coverage',
    'draw_overview',
    'draw_proposals',
    'draw_reliability',
    'draw_std_map',
    'propose',
    'render',
    'rpn_head',
    'std_band',
    'std_map',
]
