"""A benchmark's job, and how it runs on whatever machine it is given."""

import ctypes
import fcntl
import os
import shlex
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Optional, Sequence, Tuple

from submitit import JobEnvironment
from submitit.core.utils import DelayedSubmission
from submitit.helpers import TorchDistributedEnvironment

from ..utils.launchers import job_port
from ..utils.package_folders import package_folder
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
    words: Sequence[str]

    def is_done(self, folder: Path) -> bool:
        """Whether what it makes is in the folder of its job."""
        if self.phase == 'training':
            return Run(folder).checkpoint is not None
        makes = TIMINGS if self.phase == 'timing' else METRICS
        return (folder / makes).is_file()


def training(run: Run, distributed: bool) -> Step:
    """The command that trains a run."""
    words = [sys.executable, str(package_folder('tools') / 'train.py')]
    words += [str(run.config), '--work-dir', str(run.folder)]
    words += ['--launcher', 'pytorch'] if distributed else []
    return Step('training', words)


def measuring(command: str, folder: Path) -> Step:
    """The command that measures a run, or times all of a work folder."""
    tool = str(package_folder('tools') / 'benchmark.py')
    phase = 'measuring' if command == 'measure' else 'timing'
    return Step(phase, [sys.executable, tool, command, str(folder)])


class Job(NamedTuple):
    """What a detector's run, or the plan, lacks.

    Attributes:
        name (str): What progress calls it.
        folder (Path): Its log and its locks go there.
        steps (tuple[Step]): Its commands, which each of its processes runs.
        gpus (int): Number of its processes.
        after (str): Name of the job that must have succeeded before, or ''.
    """

    name: str
    folder: Path
    steps: Tuple[Step, ...]
    gpus: int = 1
    after: str = ''

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
                    with (folder / LOG).open('ab') as log:
                        code = call(words, stdout=log, stderr=log)
                        if code:
                            text = f'{shlex.join(words)} ended with {code}\n'
                            log.write(text.encode())
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
