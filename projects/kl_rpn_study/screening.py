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

import os
import sys
from pathlib import Path

# The package of this file's name: Python prefers folders to files.
from screening.plan import Screening, load_screening
from screening.pool import quiet, work
from screening.report import write_report
from screening.study import cells_of, extractions, trainings

from mmdet_klrpn.benchmark.jobs import prepare
from mmdet_klrpn.utils import ToolParser, one_line_errors


@one_line_errors('run the same again to continue')
def main() -> None:
    """Run the command line."""
    parser = ToolParser(description=__doc__)
    add = parser.add_argument
    add('command', choices=('run', 'report'), help='train, or write tables')
    add('plan', type=Path, help='YAML file')
    add('-o', '--out', type=Path, default=Path('report'), help='of the tables')
    add('--jobs', type=int, default=os.cpu_count() or 1, help='processes')
    args = parser.parse_args()
    quiet()
    plan = load_screening(args.plan)
    if args.command == 'run':
        sys.exit(run(plan, args.jobs))
    write_report(plan, cells_of(plan), args.out)


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
