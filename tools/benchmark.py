#!/usr/bin/env python
"""Compare detectors with RPN and with KL-RPN, over several seeds.

    python tools/benchmark.py run benchmarks/trees.yaml
    python tools/benchmark.py report work_dirs/trees -o report

A plan names pairs of configs. `run` trains and measures what is missing, and
goes on where it was cut; `report` makes a page, Markdown, CSV and JSON of what
has been measured. See docs/benchmark.md.
"""

import argparse
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from mmdet_klrpn.benchmark.comparison import check_pair
from mmdet_klrpn.benchmark.fields import check_seeds
from mmdet_klrpn.benchmark.jobs import Crew, find_jobs, prepare, shell_line
from mmdet_klrpn.benchmark.launch import LAUNCHERS, Launch
from mmdet_klrpn.benchmark.plan import check_files, load_plan
from mmdet_klrpn.benchmark.runs import Run, hold, store_plan, stored_plan


def main() -> None:
    """Run the command line."""
    args = parse_args()
    try:
        sys.exit(args.call(args))
    except (FileNotFoundError, RuntimeError, ValueError) as error:
        sys.exit(f'benchmark: {error}')


def parse_args() -> argparse.Namespace:
    """Arguments of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest='command', required=True)
    add_run(commands)
    measuring = commands.add_parser('measure', help='measure finished runs')
    measuring.add_argument('runs', nargs='+', type=Path, metavar='FOLDER')
    measuring.set_defaults(call=measure)
    add_report(commands)
    return parser.parse_args()


def add_run(commands: argparse._SubParsersAction) -> None:
    """Add the options of `run`."""
    parser = commands.add_parser('run', help='train and measure a plan')
    parser.add_argument('plan', type=Path)
    parser.add_argument('--seeds', type=int, help="instead of the plan's")
    parser.add_argument('--work-dir', type=Path, help="instead of the plan's")
    parser.add_argument('--launcher', choices=LAUNCHERS, default='none')
    parser.add_argument(
        '--gpus', type=int, default=1, help='processes of a training'
    )
    parser.add_argument('--partition', help='of slurm')
    parser.add_argument(
        '--jobs', type=int, help='side by side; default: as GPUs or cores are'
    )
    parser.add_argument(
        '--measure-only', action='store_true', help='of finished trainings'
    )
    parser.add_argument(
        '--dry-run', action='store_true', help='print a command for each job'
    )
    parser.set_defaults(call=run)


def add_report(commands: argparse._SubParsersAction) -> None:
    """Add the options of `report`."""
    parser = commands.add_parser('report', help='of all that is measured')
    parser.add_argument('work_dirs', nargs='+', type=Path, metavar='WORK_DIR')
    parser.add_argument('-o', '--out', type=Path, default=Path('report'))
    parser.add_argument(
        '--plan', type=Path, help='instead of the one stored beside the runs'
    )
    parser.add_argument(
        '--resamples', type=int, default=1000, help='of the test images'
    )
    parser.add_argument(
        '--jobs', type=int, help='processes; default: as cores are'
    )
    parser.set_defaults(call=report)


def run(args: argparse.Namespace) -> int:
    """Train and measure what a plan lacks."""
    plan = load_plan(args.plan)
    check_files(plan)
    for pair in plan.pairs:
        for difference in check_pair(pair):
            print(f'{pair.name}: {difference}')
    seeds = plan.seeds if args.seeds is None else args.seeds
    check_seeds(seeds, '--seeds')
    launch = Launch(args.launcher, args.gpus, args.partition)
    launch.check()
    work_dir = args.work_dir or plan.work_dir
    jobs = find_jobs(plan, work_dir, seeds)
    if args.measure_only:
        jobs = [job for job in jobs if not job.training]
    slots = launch.slots(args.jobs, len(jobs))
    if args.dry_run:
        for i, job in enumerate(jobs):
            print(shell_line(job, launch, slots[i % len(slots)]))
        return 0
    with hold(work_dir):
        store_plan(args.plan, work_dir)
        prepare(plan.prepare)
        print(f'{len(jobs)} jobs, {len(slots)} side by side', flush=True)
        failed = Crew(launch, slots).work(jobs)
    for job in failed:
        print(f'failed: {job.run.name}, see {job.log}', file=sys.stderr)
    print(f'next: python tools/benchmark.py report {work_dir} -o report')
    return 1 if failed else 0


def measure(args: argparse.Namespace) -> None:
    """Measure finished runs, one after another."""
    from mmdet_klrpn.benchmark.measure import measure as measure_run

    for folder in args.runs:
        measure_run(Run(folder))
        print(f'{folder}: measured', flush=True)


def report(args: argparse.Namespace) -> None:
    """Write a report of all that is measured."""
    from mmdet_klrpn.benchmark.report import write_report
    from mmdet_klrpn.benchmark.summary import summarize

    if args.resamples < 0:
        raise ValueError(f'--resamples must be >= 0, but is {args.resamples}')
    plan = load_plan(args.plan) if args.plan else stored_plan(args.work_dirs)
    with ProcessPoolExecutor(args.jobs) as pool:
        summaries = summarize(plan, args.work_dirs, args.resamples, pool)
    for path in write_report(plan, summaries, args.out):
        print(path)


if __name__ == '__main__':
    main()
