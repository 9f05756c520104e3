#!/usr/bin/env python
"""Train detectors over several seeds, measure and compare them.

    python tools/benchmark.py run PLAN.yaml
    python tools/benchmark.py report WORK_DIR --out report

A plan names detectors and which of them are compared. `run` trains and
measures what is missing and resumes what was interrupted; `report` writes a
page, Markdown, CSV, LaTeX and plots. See docs/benchmark.md.
"""

import argparse
import sys
from pathlib import Path

from mmdet_klrpn.benchmark.plan import Plan, find_plan, load_plan


def main() -> None:
    """Run the command line."""
    args = parse_args()
    try:
        sys.exit(args.call(args))
    except KeyboardInterrupt as signal:
        print(
            f'benchmark: {signal or "stopped"}: nothing is running any more. '
            'Run the same command again to continue.',
            file=sys.stderr,
        )
        sys.exit(130)
    except (OSError, RuntimeError, ValueError) as error:
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
    measuring.add_argument('runs', nargs='+', type=Path, metavar='RUN')
    measuring.set_defaults(call=measure)
    timing = commands.add_parser('time', help='time detectors in turns')
    timing.add_argument('work_dir', type=Path, metavar='WORK_DIR')
    timing.set_defaults(call=time_all)
    add_report(commands)
    return parser.parse_args()


def add_run(commands: argparse._SubParsersAction) -> None:
    """Add the options of `run`."""
    parser = commands.add_parser('run', help='train and measure a plan')
    add = parser.add_argument
    add('plan', help='YAML file, or the name of one of the package')
    add('--seeds', type=int, help='number of seeds (default: as in the plan)')
    add('--work-dir', type=Path, help='(default: as in the plan)')
    add('--launcher', choices=('local', 'slurm'), default='local')
    add('--gpus', type=int, default=1, help='processes of a training')
    add('--jobs', type=int, help='at once (default: all GPUs or cores)')
    for name in ('partition', 'account', 'qos', 'time', 'gres', 'constraint'):
        add(f'--{name}', help='as for sbatch')
    more = 'more options of sbatch, by their long names'
    add('--sbatch', nargs='+', default=[], metavar='KEY=VALUE', help=more)
    add('--measure-only', action='store_true', help='train nothing')
    add('--dry-run', action='store_true', help='show the jobs and stop')
    parser.set_defaults(call=run)


def add_report(commands: argparse._SubParsersAction) -> None:
    """Add the options of `report`."""
    parser = commands.add_parser('report', help='report what is measured')
    add = parser.add_argument
    add('work_dirs', nargs='+', type=Path, metavar='WORK_DIR')
    add('--out', '-o', type=Path, default=Path('report'), help='a folder')
    add('--plan', help='(default: the one stored beside the runs)')
    add('--resamples', type=int, default=1000, help='of images (default 1000)')
    add('--jobs', type=int, help='processes (default: one for each core)')
    parser.set_defaults(call=report)


def run(args: argparse.Namespace) -> int:
    """Train and measure what a plan lacks."""
    from mmdet_klrpn.benchmark import checks, jobs, runs

    path = find_plan(args.plan)
    plan = load_plan(path)
    plan = plan._replace(
        work_dir=args.work_dir or plan.work_dir,
        seeds=plan.seeds if args.seeds is None else args.seeds,
    )
    queue = make_queue(args)
    configs = checks.check_configs(plan)
    if args.dry_run:
        print(f'Jobs run {queue.describe()}.')
        for job in jobs.find_jobs(plan, args.gpus, args.measure_only):
            print(f'{job.name}, {job.gpus} GPUs or processes: {job}')
        return 0
    with runs.lock_work_dir(plan.work_dir):
        runs.store_plan(path, plan.work_dir)
        jobs.prepare(plan.prepare)
        checks.check_data(plan, configs)
        jobs.write_configs(plan, configs)
        missing = jobs.find_jobs(plan, args.gpus, args.measure_only)
        print(f'{len(missing)} jobs, {queue.describe()}', flush=True)
        failed = jobs.work(queue, missing, plan.work_dir)
        timing = jobs.timing_job(plan)
        if timing:
            failed += jobs.work(queue, [timing], plan.work_dir)
    for job in failed:
        print(f'failed: {job.name}, see {job.log}', file=sys.stderr)
    print(f'next: {sys.argv[0]} report {plan.work_dir} --out report')
    return 1 if failed else 0


def make_queue(args: argparse.Namespace) -> object:
    """Where jobs run."""
    from mmdet_klrpn.benchmark.jobs import LocalQueue, SlurmQueue

    names = ('partition', 'account', 'qos', 'time', 'gres', 'constraint')
    options = {n: getattr(args, n) for n in names if getattr(args, n)}
    for word in args.sbatch:
        key, equals, value = word.lstrip('-').partition('=')
        if not equals:
            raise ValueError(f'--sbatch {word}: write KEY=VALUE')
        options[key] = value
    if args.launcher == 'local':
        if options:
            raise ValueError(f'--{min(options)} needs --launcher slurm')
        return LocalQueue(args.gpus, args.jobs)
    if args.jobs:
        raise ValueError('--jobs is for local jobs: Slurm queues them all')
    return SlurmQueue(args.gpus, options)


def measure(args: argparse.Namespace) -> None:
    """Measure finished runs, one after another."""
    from mmdet_klrpn.benchmark.measure import measure as measure_run
    from mmdet_klrpn.benchmark.runs import find_run

    for folder in args.runs:
        measure_run(*find_run(folder))
        print(f'{folder}: measured', flush=True)


def time_all(args: argparse.Namespace) -> None:
    """Time all detectors of a work folder in turns."""
    from mmdet_klrpn.benchmark.runs import stored_plan
    from mmdet_klrpn.benchmark.timings import time_detectors

    time_detectors(stored_plan([args.work_dir]), args.work_dir)


def report(args: argparse.Namespace) -> None:
    """Write a report of all that is measured."""
    from mmdet_klrpn.benchmark.report import write_report
    from mmdet_klrpn.benchmark.results import load_results
    from mmdet_klrpn.benchmark.runs import stored_plan

    if args.resamples < 0:
        raise ValueError(f'--resamples must be >= 0, but is {args.resamples}')
    plan: Plan = (
        load_plan(find_plan(args.plan))
        if args.plan
        else stored_plan(args.work_dirs)
    )
    results = load_results(plan, args.work_dirs, args.resamples, args.jobs)
    for path in write_report(results, args.out):
        print(path)


if __name__ == '__main__':
    main()
