#!/usr/bin/env python
"""Test a detector by mmdet's own test.py, with KL-RPN registered."""

import mmdet_klrpn  # noqa: F401
from mmdet_klrpn.utils import run_mmdet_tool

if __name__ == '__main__':
    run_mmdet_tool('test.py')
