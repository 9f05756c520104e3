#!/usr/bin/env python
"""Train a detector by mmdet's own train.py, with KL-RPN registered."""

import mmdet_klrpn  # noqa: F401
from mmdet_klrpn.utils import run_mmdet_tool

if __name__ == '__main__':
    run_mmdet_tool('train.py')
