#!/usr/bin/env python
"""Find out which settings of a region proposal head are the better ones.

    PLAN=projects/kl_rpn_study/plans/screening.yaml
    python projects/kl_rpn_study/screening.py run $PLAN
    python projects/kl_rpn_study/screening.py report $PLAN -o report

A plan asks questions, and gives each the settings that may answer it. `run`
computes the features of each data set once, and trains a head alone on them
for each setting and seed without a result; after an interruption it goes on
where it was. `report` writes tables of the results.
"""

import argparse
import os
import sys
from pathlib import Path

# The package of this file's name: Python prefers folders to files.
from screening.plan import Screening, load_screening
from screening.pool import quiet, work
from screening.report import write_report
from screening.study import cells_of, extractions, trainings

from mmdet_klrpn.benchmark.jobs import prepare


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('command', choices=('run', 'report'))
    parser.add_argument('plan', type=Path)
    parser.add_argument('-o', '--out', type=Path, default=Path('report'))
    parser.add_argument('--jobs', type=int, default=os.cpu_count() or 1)
    args = parser.parse_args()
    quiet()
    try:
        plan = load_screening(args.plan)
        if args.command == 'run':
            sys.exit(run(plan, args.jobs))
        write_report(plan, cells_of(plan), args.out)
    except (OSError, RuntimeError, ValueError) as error:
        sys.exit(f'screening: {error}')


def run(plan: Screening, jobs: int) -> int:
    """Train what has no result, and return the exit status."""
    prepare(plan.prepare)
    cells = cells_of(plan)
    missing = [c for c in cells if trainings([c], plan.seeds)]
    failed = work(extractions(missing), jobs, 'features')
    ready = [cell for cell in cells if cell.file.is_file()]
    failed += work(trainings(ready, plan.seeds), jobs, 'trainings')
    for name in failed:
        print(f'failed: {name}', file=sys.stderr)
    return 1 if failed else 0


if __name__ == '__main__':
    main()
