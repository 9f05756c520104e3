"""Operators that take regions of interest out of a feature map."""

from .ps_roi_extractor import PSRoIExtractor

__all__ = ['PSRoIExtractor']
