"""Utilities of the tools."""

from .debian_files import fetch_from_debian
from .mmdet_tools import run_mmdet_tool
from .output_files import check_output, distinct_names
from .pypi_files import fetch_from_wheel

__all__ = [
    'check_output',
    'distinct_names',
    'fetch_from_debian',
    'fetch_from_wheel',
    'run_mmdet_tool',
]
