"""Run a plan's jobs through submitit: side by side here, or in Slurm's queue.

A job has succeeded if the file that it is to make is there. So nothing depends
on Slurm's accounting, which many a cluster does not have.
"""

import os
import signal
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Dict, Iterator, List, NamedTuple, Optional, Sequence, Set

import submitit
import torch
from mmengine.config import Config

from .fields import Preparation
from .plan import Plan
from .progress import Display
from .runs import METRICS, TIMINGS, Run, run_of, write_config
from .tasks import Step, Task, measuring, training

GPUS_PER_NODE = 8
JOB_ID = '.slurm_job'  # in a run's folder: its job, while there is one
_NO_LIMIT = 365 * 24 * 60  # minutes
_SECONDS_TO_END = 20
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Job(NamedTuple):
    """What a detector's run, or the plan, lacks.

    Attributes:
        name (str): What progress calls it.
        detector (str): The detector's name, or '' of the timings.
        folder (Path): Its log and its locks go there.
        steps (tuple[Step]): Its commands.
        gpus (int): Number of its processes.
        after (str): Name of the job that must have succeeded before, or ''.
    """

    name: str
    detector: str
    folder: Path
    steps: Sequence[Step] = ()
    gpus: int = 1
    after: str = ''

    @property
    def log(self) -> Path:
        """What its commands print."""
        return self.folder / 'benchmark.log'

    def __str__(self) -> str:
        """Its commands, as a shell takes them."""
        return ' && '.join(map(str, self.steps))

    @property
    def succeeded(self) -> bool:
        """Whether what it makes is there."""
        os.listdir(self.folder)  # makes a shared disk look again
        if self.steps[-1].phase == 'training':
            return Run(self.folder).checkpoint is not None
        measuring = self.steps[-1].phase == 'measuring'
        return (self.folder / (METRICS if measuring else TIMINGS)).is_file()


def write_configs(plan: Plan, configs: Dict[str, Config]) -> None:
    """Write the resolved configs of all runs into their folders."""
    for detector in plan.detectors:
        for seed in plan.seeds_of(detector):
            run = run_of(plan.work_dir, detector, seed)
            trained = None if detector.checkpoint else seed
            write_config(run, configs[detector.name], trained)


def find_jobs(plan: Plan, gpus: int, measure_only: bool = False) -> List[Job]:
    """What a plan lacks, seed by seed.

    Args:
        plan (Plan): The plan.
        gpus (int): Processes of a training.
        measure_only (bool): Leave out what is not trained yet.
    """
    jobs = []
    for seed in range(plan.seeds):
        for detector in plan.detectors:
            if seed not in plan.seeds_of(detector):
                continue
            run = run_of(plan.work_dir, detector, seed)
            trained = bool(detector.checkpoint or run.checkpoint)
            if run.measured or (measure_only and not trained):
                continue
            job = Job(
                f'{detector.name}, seed {seed}', detector.name, run.folder
            )
            train = [] if trained else [training(run, gpus > 1)]
            measure = [measuring('measure', run.folder)]
            if train and gpus > 1:  # which measuring would leave idle
                jobs.append(job._replace(steps=train, gpus=gpus))
                name, after, train = f'{job.name}, measuring', job.name, []
                job = job._replace(name=name, after=after)
            jobs.append(job._replace(steps=train + measure))
    return jobs


def timing_job(plan: Plan) -> Optional[Job]:
    """The job that times all detectors; None if their times are there."""
    makes = plan.work_dir / TIMINGS
    runs = [run_of(plan.work_dir, d, 0) for d in plan.detectors]
    measured = [run.folder / METRICS for run in runs if run.measured]
    if not measured or (
        makes.is_file()
        and makes.stat().st_mtime > max(m.stat().st_mtime for m in measured)
    ):
        return None
    makes.unlink(missing_ok=True)
    steps = [measuring('time', plan.work_dir)]
    return Job('timings', '', plan.work_dir, steps)


class LocalQueue:
    """Jobs on this machine: one for each group of GPUs, or of cores.

    Args:
        gpus (int): Processes of a training.
        jobs (int, optional): How many jobs run side by side.

    Raises:
        ValueError: If the GPUs do not suffice for a training.
    """

    def __init__(self, gpus: int, jobs: Optional[int] = None) -> None:
        devices = visible_gpus()
        if devices and gpus > len(devices):
            raise ValueError(
                f'--gpus {gpus}, but {len(devices)} are visible: '
                f'{", ".join(devices)}'
            )
        cores = os.cpu_count() or 1
        count = jobs or max((len(devices) or cores) // gpus, 1)
        threads = max(cores // (count * gpus), 1)
        self.slots: List[Dict[str, str]] = []
        for i in range(count):
            slot = {'OMP_NUM_THREADS': str(threads)}
            if devices:
                first = i % max(len(devices) // gpus, 1) * gpus
                own = devices[first : first + gpus]
                slot['CUDA_VISIBLE_DEVICES'] = ','.join(own)
            self.slots.append(slot)
        self.free = list(self.slots)
        self.running: Dict[str, submitit.Job] = {}
        self.taken: Dict[str, Dict[str, str]] = {}
        self.ended: Set[str] = set()

    def describe(self) -> str:
        """How jobs would run."""
        return f'{len(self.slots)} side by side on this machine'

    def submit(self, job: Job, folder: Path) -> bool:
        """Start a job, if there is a place for it."""
        if not self.free:
            return False
        slot = self.taken[job.name] = self.free.pop(0)
        executor = submitit.LocalExecutor(folder)
        executor.update_parameters(
            tasks_per_node=job.gpus, timeout_min=_NO_LIMIT
        )
        task = Task(job.folder, list(job.steps), slot, os.getpid())
        self.running[job.name] = executor.submit(task)
        return True

    def states(self) -> Dict[str, str]:
        """'waiting', 'running' or 'ended' of each job that was submitted."""
        for name, job in list(self.running.items()):
            if job.done():
                self.free.append(self.taken.pop(name))
                self.ended.add(name)
                del self.running[name]
        found = dict.fromkeys(self.running, 'running')
        return {**found, **dict.fromkeys(self.ended, 'ended')}

    def cancel(self) -> None:
        """End all jobs: their processes die with their parents."""
        for job in self.running.values():
            job._process.kill()
            job._process.wait()
        self.running.clear()


class SlurmQueue:
    """Jobs in the queue of a Slurm cluster.

    Args:
        gpus (int): Processes of a training, eight on a node at most.
        options (dict[str, str]): Of sbatch, by its long names.
    """

    def __init__(self, gpus: int, options: Dict[str, str]) -> None:
        self.options = dict(options)
        self.ids: Dict[str, str] = {}
        limit = self.options.pop('time', None) or _default_time(
            self.options.get('partition')
        )
        self.minutes = to_minutes(limit)
        self.parameters(gpus)

    def describe(self) -> str:
        """How jobs would run."""
        options = {**self.options, 'time': f'{self.minutes} min'}
        return 'in the queue, with ' + ', '.join(
            f'{key}={value}' for key, value in options.items()
        )

    def parameters(self, gpus: int) -> Dict[str, object]:
        """Submitit's parameters of a job."""
        nodes = -(-gpus // GPUS_PER_NODE)
        if gpus % nodes:
            raise ValueError(
                f'--gpus {gpus} cannot be spread evenly over {nodes} nodes: '
                f'give a multiple of {GPUS_PER_NODE}'
            )
        resources = dict(nodes=nodes, ntasks_per_node=gpus // nodes)
        resources['cpus_per_task'] = 4
        if not {'gres', 'gpus-per-node', 'gpus'} & self.options.keys():
            resources['gpus_per_node'] = gpus // nodes
        own = dict(self.options)
        for name in resources:  # which submitit takes by their own names
            if name.replace('_', '-') in own:
                resources[name] = int(own.pop(name.replace('_', '-')))
        return dict(
            **resources,
            time=self.minutes,
            stderr_to_stdout=True,
            srun_args=['--kill-on-bad-exit=1'],
            additional_parameters={**own, 'requeue': True},
        )

    def submit(self, job: Job, folder: Path) -> bool:
        """Queue a job, or find the one that an earlier call queued."""
        note = job.folder / JOB_ID
        if note.is_file() and note.read_text() in self._listed():
            self.ids[job.name] = note.read_text()
            return True
        executor = submitit.SlurmExecutor(folder)
        executor.update_parameters(
            job_name=f'{job.name}', **self.parameters(job.gpus)
        )
        task = Task(job.folder, list(job.steps), {})
        self.ids[job.name] = executor.submit(task).job_id
        note.write_text(self.ids[job.name])
        return True

    def states(self) -> Dict[str, str]:
        """'waiting', 'running' or 'ended' of each job that was submitted."""
        listed = self._listed()
        found = {}
        for name, number in self.ids.items():
            state = listed.get(number, 'ended')
            found[name] = 'waiting' if state == 'PENDING' else state
        return found

    def cancel(self) -> None:
        """Cancel all jobs, and wait for their end."""
        numbers = [n for n in self.ids.values() if n in self._listed()]
        if not numbers:
            return
        subprocess.run(['scancel', *numbers], check=False)
        end = time.time() + 3 * _SECONDS_TO_END
        while set(numbers) & set(self._listed()) and time.time() < end:
            time.sleep(1)

    def _listed(self) -> Dict[str, str]:
        """State of every job of this user that has not ended."""
        words = ['squeue', '-h', '-u', str(os.getuid()), '-o', '%i %T']
        for wait in (1, 5, 20, 60, 0):
            result = subprocess.run(words, capture_output=True, text=True)
            if not result.returncode:
                break
            time.sleep(wait)  # its controller may be restarting
        else:
            raise RuntimeError(f'squeue fails: {result.stderr.strip()}')
        lines = [line.split() for line in result.stdout.splitlines()]
        return {
            number: 'PENDING' if state == 'PENDING' else 'running'
            for number, state in lines
        }


def to_minutes(limit: str) -> int:
    """Minutes of one of Slurm's times, such as 90, 8:00:00 or 1-12:00.

    Raises:
        ValueError: If it is none.
    """
    if limit.upper() in ('INFINITE', 'UNLIMITED'):
        return _NO_LIMIT
    days, dash, rest = limit.rpartition('-')
    try:
        parts = [int(part) for part in rest.split(':')]
        if dash:
            hours, minutes, seconds = (*parts, 0, 0)[:3]
            hours += 24 * int(days)
        else:
            hours = parts.pop(0) if len(parts) == 3 else 0
            minutes, seconds = (*parts, 0)[:2]
    except ValueError:
        raise ValueError(
            f'--time must be minutes, hours:minutes:seconds or days-hours, '
            f'but is {limit}'
        ) from None
    return 60 * hours + minutes + (seconds > 0)


def _default_time(partition: Optional[str]) -> str:
    """Time limit of jobs of a partition that ask for none."""
    words = ['sinfo', '-h', '-o', '%L %l']
    words += ['-p', partition] if partition else []
    result = subprocess.run(words, capture_output=True, text=True)
    if result.returncode or not result.stdout.strip():
        raise ValueError(
            f'--partition {partition}: sinfo knows none of that name '
            f'{result.stderr.strip()}'.strip()
        )
    default, most = result.stdout.splitlines()[0].split()
    return most if default == 'n/a' else default


def visible_gpus() -> List[str]:
    """GPUs that jobs may use, as CUDA_VISIBLE_DEVICES names them."""
    named = os.environ.get('CUDA_VISIBLE_DEVICES')
    if named is not None:
        return [name for name in named.split(',') if name]
    return [str(i) for i in range(torch.cuda.device_count())]


def work(queue: object, jobs: Sequence[Job], work_dir: Path) -> List[Job]:
    """Run jobs, show their progress, and return those that failed.

    Args:
        queue (LocalQueue | SlurmQueue): Where they run.
        jobs (Sequence[Job]): All that are to run.
        work_dir (Path): Where submitit keeps its files.

    Raises:
        KeyboardInterrupt: After a signal, once no job is left.
    """
    results: Dict[
        str, bool
    ] = {}  # whether they succeeded, of those that ended
    waiting = list(jobs)
    with _signals_raise(), Display(
        jobs, len(getattr(queue, 'slots', ()))
    ) as show:
        try:
            while len(results) < len(jobs):
                for job in list(waiting):
                    if not results.get(job.after, True):
                        results[job.name] = False
                    elif job.after and job.after not in results:
                        continue
                    elif not queue.submit(job, work_dir / 'jobs'):
                        break
                    waiting.remove(job)
                states = queue.states()
                for job in jobs:
                    if states.get(job.name) == 'ended' and (
                        job.name not in results
                    ):
                        (job.folder / JOB_ID).unlink(missing_ok=True)
                        results[job.name] = _succeeded(job)
                        show.end(job, results[job.name])
                show.update(states)
                time.sleep(0.5)
        except BaseException:
            for number in _SIGNALS:  # nothing may interrupt the clearing up
                signal.signal(number, signal.SIG_IGN)
            queue.cancel()
            for job in jobs:
                (job.folder / JOB_ID).unlink(missing_ok=True)
            raise
    return [job for job in jobs if not results[job.name]]


def _succeeded(job: Job) -> bool:
    """Whether a job that ended has; a shared disk may show its file late."""
    for _ in range(10):
        if job.succeeded:
            return True
        time.sleep(0.2)
    return False


@contextmanager
def _signals_raise() -> Iterator[None]:
    """Let the signals that end a program raise a KeyboardInterrupt."""

    def stop(number: int, frame: Optional[FrameType]) -> None:
        raise KeyboardInterrupt(signal.Signals(number).name)

    before = {}
    for number in _SIGNALS:
        ignored = signal.getsignal(number) == signal.SIG_IGN
        # What nohup has let it ignore stays ignored. SIGINT is not: a shell
        # makes jobs in the background ignore it, and ours would inherit it.
        if number != signal.SIGHUP or not ignored:
            before[number] = signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def prepare(steps: Sequence[Preparation]) -> None:
    """Make a plan's data and weights, as far as they are missing.

    Raises:
        RuntimeError: If a command fails, or does not make its file.
    """
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
