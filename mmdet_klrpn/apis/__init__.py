"""Detectors and their first stages, from Python."""

from .detectors import load_detector
from .first_stage import FirstStage, propose, rpn_head

__all__ = ['FirstStage', 'load_detector', 'propose', 'rpn_head']
