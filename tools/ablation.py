#!/usr/bin/env python
"""Find out which settings of a region proposal head are the better ones.

    python tools/ablation.py run benchmarks/ablation.yaml
    python tools/ablation.py report work_dirs/ablation -o work_dirs/report

A plan names questions, each with settings that answer it. `run` computes the
features of each data set once, trains a head alone on them for each setting
and seed that is missing, and goes on where it was cut; `report` makes tables
of what has been measured. See docs/benchmark.md.
"""

import argparse
import os
import sys
from pathlib import Path

from mmdet_klrpn.benchmark.ablation.outcome import Outcomes
from mmdet_klrpn.benchmark.ablation.plan import check_files, load_ablation
from mmdet_klrpn.benchmark.ablation.pool import work
from mmdet_klrpn.benchmark.ablation.report import write_report
from mmdet_klrpn.benchmark.ablation.study import (
    extractions,
    store_keys,
    study,
    trainings,
)
from mmdet_klrpn.benchmark.fields import check_seeds
from mmdet_klrpn.benchmark.jobs import prepare
from mmdet_klrpn.benchmark.runs import hold, store_plan


def main() -> None:
    """Run the command line."""
    args = parse_args()
    try:
        sys.exit(args.call(args))
    except (FileNotFoundError, RuntimeError, ValueError) as error:
        sys.exit(f'ablation: {error}')


def parse_args() -> argparse.Namespace:
    """Arguments of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest='command', required=True)
    running = commands.add_parser('run', help='train what a plan lacks')
    running.add_argument('plan', type=Path)
    running.add_argument('--seeds', type=int, help="instead of the plan's")
    running.add_argument('--work-dir', type=Path, help="instead of the plan's")
    running.add_argument(
        '--jobs', type=int, help='processes; default: as cores are'
    )
    running.set_defaults(call=run)
    reporting = commands.add_parser('report', help='of all that is measured')
    reporting.add_argument('work_dir', type=Path, metavar='WORK_DIR')
    reporting.add_argument('-o', '--out', type=Path, default=Path('report'))
    reporting.set_defaults(call=report)
    return parser.parse_args()


def run(args: argparse.Namespace) -> int:
    """Train what a plan lacks."""
    plan = load_ablation(args.plan)
    seeds = plan.seeds if args.seeds is None else args.seeds
    check_seeds(seeds, '--seeds')
    jobs = (os.cpu_count() or 1) if args.jobs is None else args.jobs
    if jobs < 1:
        raise ValueError(f'--jobs must be >= 1, but is {jobs}')
    work_dir = args.work_dir or plan.work_dir
    with hold(work_dir):
        prepare(plan.prepare)
        check_files(plan)
        found = study(plan, work_dir)
        store_plan(args.plan, work_dir)
        store_keys(found)
        tasks = trainings(found, seeds)
        failed = work(extractions(found, tasks), jobs)
        ready = [task for task in tasks if task.needs.is_file()]
        print(f'{len(ready)} trainings, {jobs} side by side', flush=True)
        failed += work(ready, jobs)
    for task in failed:
        print(f'failed: {task.name}', file=sys.stderr)
    print(f'next: python tools/ablation.py report {work_dir} -o report')
    return 1 if failed else 0


def report(args: argparse.Namespace) -> None:
    """Write a report of all that is measured."""
    for path in write_report(Outcomes(args.work_dir), args.out):
        print(path)


if __name__ == '__main__':
    main()
