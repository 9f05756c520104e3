"""Utilities of the tools."""

from .mmdet_tools import run_mmdet_tool
from .output_files import check_output, distinct_names

__all__ = [
    'check_output',
    'distinct_names',
    'run_mmdet_tool',
]
