"""Run what is missing, side by side, and say how far it is."""

import os
import queue
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Dict, List, NamedTuple, Sequence

from .comparison import check_run
from .fields import Preparation
from .launch import Command, Launch
from .plan import Plan
from .progress import format_time, last_lines, read_progress, seconds_left
from .runs import Run, run_of

SECONDS_BETWEEN_LINES = 30


class Job(NamedTuple):
    """A run that lacks something.

    Attributes:
        run (Run): The run.
        config (Path): Its config.
        training (bool): Whether its training is not finished.
    """

    run: Run
    config: Path
    training: bool

    @property
    def log(self) -> Path:
        """What its commands print."""
        return self.run.folder / 'benchmark.log'

    def commands(self, launch: Launch, slot: Dict[str, str]) -> List[Command]:
        """Its commands, each to run once the one before has succeeded."""
        measure = launch.measure(self.run, slot)
        if not self.training:
            return [measure]
        return [launch.train(self.run, self.config, slot), measure]


def find_jobs(plan: Plan, work_dir: Path, seeds: int) -> List[Job]:
    """What a plan lacks, seed by seed.

    Raises:
        ValueError: If a run that exists is of another config or seed.
    """
    jobs = []
    for seed in range(seeds):
        for config in (c for pair in plan.pairs for c in pair.configs):
            run = run_of(work_dir, config, seed)
            if run.dumped_config is not None:
                check_run(config, run.dumped_config, seed)
            if not run.measured and run not in [job.run for job in jobs]:
                jobs.append(Job(run, config, run.checkpoint is None))
    return jobs


class Crew:
    """Runs jobs side by side; one that fails does not stop the others.

    Args:
        launch (Launch): How trainings are started.
        slots (list[dict[str, str]]): An environment for each of the jobs
            that run at the same time.
    """

    def __init__(self, launch: Launch, slots: List[Dict[str, str]]) -> None:
        self.launch, self.num_slots = launch, len(slots)
        self.free: queue.Queue[Dict[str, str]] = queue.Queue()
        for slot in slots:
            self.free.put(slot)
        self.lock = threading.Lock()
        self.stopped = False
        self.begun: Dict[Job, float] = {}
        self.processes: Dict[Job, subprocess.Popen] = {}
        self.took: Dict[Job, float] = {}
        self.failed: List[Job] = []

    def work(self, jobs: Sequence[Job]) -> List[Job]:
        """Run jobs, printing their progress, and return those that failed."""
        with ThreadPoolExecutor(self.num_slots) as pool:
            futures = [pool.submit(self._do, job) for job in jobs]
            try:
                while futures:
                    done, rest = wait(futures, SECONDS_BETWEEN_LINES)
                    for future in done:
                        future.result()
                    futures = list(rest)
                    if futures:
                        print(self._line(len(jobs)), flush=True)
            except BaseException:
                self._stop()
                raise
        return self.failed

    def _do(self, job: Job) -> None:
        """Run the commands of a job until one fails."""
        slot = self.free.get()
        started = time.time()
        try:
            for command in job.commands(self.launch, slot):
                if not self._call(job, command):
                    return
            with self.lock:
                self.took[job] = time.time() - started
            print(
                f'{job.run.name}: done in {format_time(self.took[job])}',
                flush=True,
            )
        finally:
            self.free.put(slot)

    def _call(self, job: Job, command: Command) -> bool:
        """Run a command, its output in the job's log; whether it succeeded."""
        job.run.folder.mkdir(parents=True, exist_ok=True)
        with job.log.open('ab') as log:
            with self.lock:
                if self.stopped:
                    return False
                process = subprocess.Popen(
                    command.words,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, **command.env},
                )
                self.processes[job] = process
                self.begun.setdefault(job, time.time())
            code = process.wait()
        with self.lock:
            del self.processes[job]
            if code and not self.stopped:
                self.failed.append(job)
                print(
                    f'{job.run.name}: FAILED, see {job.log}\n  '
                    + '\n  '.join(last_lines(job.log, 5)),
                    flush=True,
                )
        return not code

    def _stop(self) -> None:
        with self.lock:
            self.stopped = True
            for process in self.processes.values():
                process.terminate()

    def _line(self, total: int) -> str:
        """How far all jobs are."""
        with self.lock:
            running = list(self.processes)
            took, failed = list(self.took.values()), len(self.failed)
        parts, left, totals = [], [], list(took)
        for job in running:
            progress = read_progress(job.log) if job.training else None
            if progress is None:
                parts.append(job.run.name)
                continue
            parts.append(f'{job.run.name} {progress.where}')
            left.append(progress.seconds_left)
            elapsed = time.time() - self.begun[job]
            totals.append(elapsed + progress.seconds_left)
        waiting = total - len(took) - failed - len(running)
        rest = seconds_left(left, totals, waiting, self.num_slots)
        about = '' if rest is None else f', about {format_time(rest)} left'
        return f'{len(took)} of {total} done{about}: ' + '; '.join(parts)


def shell_line(job: Job, launch: Launch, slot: Dict[str, str]) -> str:
    """A job as a line of a shell."""
    return ' && '.join(map(str, job.commands(launch, slot)))


def prepare(steps: Sequence[Preparation]) -> None:
    """Make a plan's data and weights, as far as they are missing."""
    for step in steps:
        if step.creates.exists():
            continue
        print(f'preparing {step.creates}: {step.run}', flush=True)
        code = subprocess.run(step.run, shell=True).returncode
        if code or not step.creates.exists():
            raise RuntimeError(
                f'{step.run} ended with status {code} and '
                f'{"made" if step.creates.exists() else "did not make"} '
                f'{step.creates}'
            )
