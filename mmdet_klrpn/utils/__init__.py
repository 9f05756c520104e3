"""Utilities of the tools."""

from .debian_files import fetch_from_debian
from .mmdet_tools import run_mmdet_tool
from .pypi_files import fetch_from_wheel

__all__ = [
    'fetch_from_debian',
    'fetch_from_wheel',
    'run_mmdet_tool',
]
