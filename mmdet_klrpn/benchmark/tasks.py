"""A benchmark's job, and how it runs on whatever machine it is given."""

import ctypes
import fcntl
import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import List, NamedTuple, Optional, Sequence, Tuple

from submitit import JobEnvironment
from submitit.core.utils import DelayedSubmission
from submitit.helpers import TorchDistributedEnvironment

from ..utils.launchers import job_port
from .runs import METRICS, TIMINGS, Run

LOG = 'benchmark.log'  # in the folder of a job: what its commands print
JOBS = 'jobs'  # likewise: submitit's files, and the locks of the job
_PR_SET_PDEATHSIG = 1  # of Linux' prctl
# Slurm sends these to every process of a job: its own decides what they mean.
_IGNORED = (signal.SIGTERM, signal.SIGUSR2)
# So many starts in a row may be cut off before they save anything.
_FRUITLESS_STARTS = 3


class Step(NamedTuple):
    """A command of a job: 'training', 'measuring' or 'timing'."""

    phase: str
    words: List[str]

    def is_done(self, folder: Path) -> bool:
        """Whether what it makes is in the folder of its job."""
        if self.phase == 'training':
            return Run(folder).checkpoint is not None
        makes = TIMINGS if self.phase == 'timing' else METRICS
        return (folder / makes).is_file()


class Job(NamedTuple):
    """What a detector's run, or the plan, lacks."""

    name: str  # what progress calls it
    folder: Path  # of its log and its locks
    steps: Tuple[Step, ...]  # which each of its processes runs
    gpus: int = 1  # number of its processes
    after: str = ''  # name of the job that must have succeeded before

    @property
    def files(self) -> Path:
        """Folder of submitit's files, by which Slurm's jobs are known."""
        return (self.folder / JOBS / self.steps[-1].phase).resolve()

    @property
    def log(self) -> Path:
        """What its commands print or, if none has begun, submitit does."""
        own, since = self.folder / LOG, os.path.getmtime
        begun = map(since, self.files.glob('*_submitted.pkl'))
        if own.is_file() and since(own) >= max(begun, default=0):
            return own
        return max(self.files.glob('*_log.*'), key=since, default=own)

    @property
    def succeeded(self) -> bool:
        """Whether what it makes is there."""
        os.listdir(self.folder)  # makes a shared disk look again
        return self.steps[-1].is_done(self.folder)


class Task:
    """Runs the steps of a job; requeued, it goes on where it was cut off.

    So many starts in a row have been fruitless, and saved nothing.
    """

    def __init__(self, job: Job, fruitless: int = 0) -> None:
        self.job, self.fruitless, self.saved = job, fruitless, 0.0

    def __call__(self) -> None:
        """Run as a process of a job of Slurm's.

        Raises:
            RuntimeError: If a command fails.
        """
        place = JobEnvironment()
        if place.num_tasks > 1:
            # Jobs of one node must not meet at one port.
            os.environ['MASTER_PORT'] = str(job_port(int(place.raw_job_id)))
            TorchDistributedEnvironment().export(
                set_cuda_visible_devices=False, overwrite=True
            )
        code = self.run(place.global_rank)
        if code:
            raise RuntimeError(f'a command ended with status {code}')

    def run(self, rank: int) -> int:
        """Run the steps that are not done, and return an exit status."""
        folder = self.job.folder
        with (folder / JOBS / f'lock{rank}').open('w') as lock:
            # What is left of an earlier start may be about to end.
            fcntl.flock(lock, fcntl.LOCK_EX)
            self.saved = Run(folder).saved
            for step in self.job.steps:
                words, code = list(step.words), 0
                if step.phase == 'training' and self.saved:
                    # Without a checkpoint, mmdet would forget load_from.
                    words.append('--resume')
                if not step.is_done(folder):
                    with (folder / LOG).open('a') as log:
                        code = call(words, stdout=log, stderr=log)
                if code:
                    return code
        return 0

    def checkpoint(self) -> Optional[DelayedSubmission]:
        """The task with which submitit requeues a job that is cut off.

        None, after several starts that have saved nothing, makes it fail.
        """
        fruitless = self.fruitless + 1
        if Run(self.job.folder).saved > self.saved:
            fruitless = 0
        if fruitless >= _FRUITLESS_STARTS:
            return None
        return DelayedSubmission(Task(self.job, fruitless))


def call(words: Sequence[str], **options) -> int:
    """Run a command, of which nothing is left if this process ends."""
    options.update(preexec_fn=_prepare_child, start_new_session=True)
    with subprocess.Popen(words, **options) as process:
        try:
            return process.wait()
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def _prepare_child() -> None:
    """Let a command die with its task, and by nothing that Slurm announces."""
    end_with_parent(signal.SIGKILL)
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)


def end_with_parent(number: int) -> None:
    """Get a signal once the parent of this process has ended."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)
