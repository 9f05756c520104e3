"""Utilities of the tools."""

from .command_line import ToolParser, read_config
from .errors import one_line_errors
from .mmdet_tools import run_mmdet_tool
from .output_files import check_output, distinct_names

__all__ = [
    'ToolParser',
    'check_output',
    'distinct_names',
    'one_line_errors',
    'read_config',
    'run_mmdet_tool',
]
