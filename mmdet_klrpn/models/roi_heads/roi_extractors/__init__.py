"""Operators that take regions of interest out of a feature map."""

from .ps_roi_extractor import PSRoIExtractor
from .ps_roi_pool import ps_roi_pool

__all__ = ['PSRoIExtractor', 'ps_roi_pool']
