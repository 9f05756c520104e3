#!/usr/bin/env python
"""Train detectors over several seeds, measure and compare them.

    klrpn benchmark run PLAN.yaml
    klrpn benchmark report WORK_DIR --out report

A plan lists detectors and the pairs to compare. `run` trains and measures what
is missing, and resumes what was interrupted; `report` writes HTML, Markdown,
CSV, LaTeX and plots. See docs/benchmark.md.
"""

import argparse
import signal
import subprocess
import sys
from pathlib import Path

from mmdet_klrpn.utils import ToolParser, one_line_errors

SBATCH = ('partition', 'account', 'qos', 'time', 'gres', 'constraint')


@one_line_errors('nothing runs any more: run the same again to continue')
def main() -> None:
    """Run the command line."""
    args = parse_args()
    sys.exit(globals()[args.command](args))


def parse_args() -> argparse.Namespace:
    """Arguments of the command line."""
    parser = ToolParser(description=__doc__)
    commands = parser.add_subparsers(dest='command', required=True)
    add = commands.add_parser('run', help='train and measure').add_argument
    add('plan', help='YAML file, or name of a plan of the package')
    add(
        '--seeds',
        type=positive,
        help='number of seeds (default: as in the plan)',
    )
    add(
        '--work-dir',
        type=Path,
        help='folder of the runs (default: as in the plan)',
    )
    launchers = dict(choices=('local', 'slurm'), default='local')
    add('--launcher', **launchers, help='where jobs run')
    add('--gpus', type=positive, default=1, help='processes per training')
    add(
        '--jobs',
        type=positive,
        help='max jobs at once (default: cores or GPUs / --gpus, Slurm: all)',
    )
    for name in SBATCH:
        add(f'--{name}', help='option of sbatch')
    more = 'other options of sbatch, by their long names'
    add('--sbatch', nargs='+', default=[], metavar='KEY[=VALUE]', help=more)
    add('--measure-only', action='store_true', help='do not train')
    add('--dry-run', action='store_true', help='show the jobs and stop')
    add = commands.add_parser(
        'measure', help='measure runs again'
    ).add_argument
    add('runs', nargs='+', type=Path, metavar='RUN', help='folder of a run')
    add = commands.add_parser(
        'time', help='time detectors in turns'
    ).add_argument
    add('work_dir', type=Path, metavar='WORK_DIR', help='folder of runs')
    add = commands.add_parser('report', help='write a report').add_argument
    add(
        'work_dirs',
        nargs='+',
        type=Path,
        metavar='WORK_DIR',
        help='folders of runs',
    )
    add('--out', type=Path, default=Path('report'), help='output folder')
    add('--plan', help='plan (default: the one stored with the runs)')
    add('--resamples', type=int, default=1000, help='bootstrap samples')
    add('--jobs', type=positive, help='processes (default: one per core)')
    return parser.parse_args()


def positive(text: str) -> int:
    """A number of the command line."""
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f'must be at least 1, but is {text}')
    return int(text)


def run(args: argparse.Namespace) -> int:
    """Train and measure what a plan lacks."""
    from mmdet_klrpn.benchmark import checks, jobs, plan, runs

    path = plan.find_plan(args.plan)
    plan = plan.load_plan(path)
    plan = plan._replace(
        work_dir=args.work_dir or plan.work_dir,
        seeds=args.seeds or plan.seeds,
    )
    queue = make_queue(args)
    with jobs.handled(interrupt):
        configs = checks.check_configs(plan, queue.has_gpus)
        if args.dry_run:
            for job in jobs.find_jobs(plan, args.gpus, args.measure_only):
                phases = ', '.join(step.phase for step in job.steps)
                print(f'{job.name}: {phases}: {queue.describe(job)}')
            return 0
        with runs.lock_work_dir(plan.work_dir):
            runs.store_plan(path, plan.work_dir)
            jobs.prepare(plan.prepare)
            checks.check_data(plan, configs)
            jobs.write_configs(plan, configs)
            missing = jobs.find_jobs(plan, args.gpus, args.measure_only)
            failed = jobs.work(queue, missing)
            timing = jobs.timing_job(plan)
            failed += jobs.work(queue, [timing] if timing else [])
    for job in failed:
        print(f'failed: {job.name}, see {job.log}', file=sys.stderr)
    print(f'next: {sys.argv[0]} report {plan.work_dir} --out report')
    return 1 if failed else 0


def interrupt(number: int, _: object) -> None:
    """Handle a signal as Ctrl-C."""
    raise KeyboardInterrupt(signal.Signals(number).name)


def make_queue(args: argparse.Namespace) -> object:
    """Where jobs run."""
    from mmdet_klrpn.benchmark.queues import LocalQueue, SlurmQueue

    words = [word.lstrip('-').partition('=') for word in args.sbatch]
    options = {name: getattr(args, name) for name in SBATCH}
    options.update((key, value or not is_) for key, is_, value in words)
    options = {key: value for key, value in options.items() if value}
    if args.launcher == 'slurm':
        return SlurmQueue(args.gpus, options, args.jobs)
    if options:
        raise ValueError(f'--{min(options)} needs --launcher slurm')
    return LocalQueue(args.gpus, args.jobs)


def measure(args: argparse.Namespace) -> int:
    """Measure finished runs, each in a process of its own."""
    from mmdet_klrpn.benchmark.measure import measure as measure_run
    from mmdet_klrpn.benchmark.runs import find_run

    if len(args.runs) == 1:
        measure_run(*find_run(args.runs[0]))
        return 0
    words = [sys.executable, __file__, 'measure']
    return max(subprocess.call([*words, str(run)]) for run in args.runs)


def time(args: argparse.Namespace) -> None:
    """Time all detectors of a work folder in turns."""
    from mmdet_klrpn.benchmark.runs import stored_plan
    from mmdet_klrpn.benchmark.timings import time_detectors

    time_detectors(stored_plan([args.work_dir]), args.work_dir)


def report(args: argparse.Namespace) -> None:
    """Write a report of all that is measured."""
    from mmdet_klrpn.benchmark import plan, report, results, runs

    if args.resamples < 0:
        raise ValueError(f'--resamples must be >= 0, but is {args.resamples}')
    found = plan.load_plan(args.plan) if args.plan else None
    found = found or runs.stored_plan(args.work_dirs)
    found = found, args.work_dirs, args.resamples, args.jobs
    for path in report.write_report(results.load_results(*found), args.out):
        print(path)


if __name__ == '__main__':
    main()
