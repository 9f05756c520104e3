#!/usr/bin/env python
"""x."""
import sys
from pathlib import Path
from mmdet_klrpn.benchmark.measure import measure
from mmdet_klrpn.benchmark.runs import Run
for f in sys.argv[2:]:
    measure(Run(Path(f)))
