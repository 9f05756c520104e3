"""Detectors and their first stages, from Python."""

from .detectors import load_detector
from .first_stage import FirstStage, propose, rpn_head
from .nested import predicting_detector

__all__ = [
    'FirstStage',
    'load_detector',
    'predicting_detector',
    'propose',
    'rpn_head',
]
