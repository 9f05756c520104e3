"""Find the jobs of a plan, and run them."""

import os
import signal
import sys
import time
from contextlib import contextmanager
from typing import Callable, Dict, Iterator, List, Optional, Sequence

from mmengine.config import Config

from ..utils.package_folders import package_folder
from .plan import Plan, Preparation
from .progress import Display
from .queues import SIGNALS
from .runs import METRICS, TIMINGS, measured_runs, runs_of, write_config
from .tasks import Job, Step, call


def write_configs(plan: Plan, configs: Dict[str, Config]) -> None:
    """Write the resolved configs of all runs into their folders."""
    for detector, run in runs_of(plan):
        trained = None if detector.checkpoint else run.seed
        write_config(run, configs[detector.name], trained)


def find_jobs(plan: Plan, gpus: int, measure_only: bool = False) -> List[Job]:
    """What a plan lacks, seed by seed; or of what is trained already."""
    jobs = []
    for detector, run in runs_of(plan):
        trained = bool(detector.checkpoint or run.checkpoint)
        if run.measured or (measure_only and not trained):
            continue
        name = f'{detector.name}, seed {run.seed}'
        train = _step('training', 'train', run.config)
        train.words.extend(['--work-dir', str(run.folder)])
        train.words.extend(['--launcher', 'pytorch'] * (gpus > 1))
        measure = _step('measuring', 'benchmark', 'measure', run.folder)
        steps = train, measure
        job = Job(name, run.folder, steps[trained:])
        if gpus > 1 and not trained:  # which measuring would leave idle
            jobs.append(job._replace(steps=steps[:1], gpus=gpus))
            job = Job(f'{name}, measuring', run.folder, steps[1:], after=name)
        jobs.append(job)
    return jobs


def timing_job(plan: Plan) -> Optional[Job]:
    """The job that times all detectors; None if their times are there."""
    makes, since = plan.work_dir / TIMINGS, os.path.getmtime
    runs = measured_runs(plan).values()
    times = [since(run.folder / METRICS) for run in runs]
    if not times or (makes.is_file() and since(makes) > max(times)):
        return None
    if makes.is_file():
        makes.unlink()
    step = _step('timing', 'benchmark', 'time', plan.work_dir)
    return Job('timings', plan.work_dir, (step,))


def _step(phase: str, tool: str, *words: object) -> Step:
    path = package_folder('tools') / f'{tool}.py'
    return Step(phase, [sys.executable, *map(str, (path, *words))])


def work(queue: object, jobs: Sequence[Job]) -> List[Job]:
    """Run jobs in a queue, show how far they are, and return the failed.

    Raises:
        KeyboardInterrupt: After a signal, once no job is left.
    """
    caught: List[int] = []
    waiting, results, ended = list(jobs), {}, {}
    note = handled(lambda number, _: caught.append(number))
    with note, Display(jobs) as show:
        try:
            while caught or len(results) < len(jobs):
                if caught:
                    raise KeyboardInterrupt(signal.Signals(caught[0]).name)
                for job in list(waiting):
                    if not results.get(job.after, True):
                        results[job.name] = False
                    elif job.after and job.after not in results:
                        continue
                    elif not queue.submit(job):
                        break
                    waiting.remove(job)
                states = queue.states()
                for job in jobs:
                    if job in waiting or job.name in {**states, **results}:
                        continue
                    since = ended.setdefault(job.name, time.monotonic())
                    late = time.monotonic() - since > queue.patience
                    succeeded = job.succeeded
                    if succeeded or late:
                        results[job.name] = succeeded
                        show.end(job, succeeded)
                show.update(states)
                time.sleep(0.5)
        except BaseException:
            queue.cancel()
            raise
    return [job for job in jobs if not results[job.name]]


@contextmanager
def handled(handler: Callable) -> Iterator[None]:
    """Handle the signals that end a program."""
    before = {}
    for number in SIGNALS:
        ignored = signal.getsignal(number) == signal.SIG_IGN
        # What nohup has let it ignore stays ignored. SIGINT is not: a shell
        # makes jobs in the background ignore it, and ours would inherit it.
        if number != signal.SIGHUP or not ignored:
            before[number] = signal.signal(number, handler)
    try:
        yield
    finally:
        for number, own in before.items():
            signal.signal(number, own)


def prepare(steps: Sequence[Preparation]) -> None:
    """Make a plan's data and weights, as far as they are missing.

    Raises:
        RuntimeError: If a command fails, or does not make its file.
    """
    for step in steps:
        if step.creates.exists():
            continue
        print(f'preparing {step.creates}: {step.run}', flush=True)
        code = call(['sh', '-c', step.run])
        made = 'made' if step.creates.exists() else 'did not make'
        if code or made != 'made':
            raise RuntimeError(
                f'{step.run} ended with status {code} and {made} '
                f'{step.creates}'
            )
