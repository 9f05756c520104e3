"""A benchmark's job, and how it runs on whatever machine it is given."""

import ctypes
import fcntl
import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Dict, NamedTuple, Optional, Sequence, Tuple

from submitit import JobEnvironment
from submitit.core.utils import DelayedSubmission
from submitit.helpers import TorchDistributedEnvironment

from ..utils.launchers import job_port
from ..utils.output_files import write_whole
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
    """A command of a job.

    Attributes:
        phase (str): 'training', 'measuring' or 'timing'.
        words (Sequence[str]): The command.
        every_rank (bool): Whether each process of the job runs it.
    """

    phase: str
    words: Sequence[str]
    every_rank: bool = False

    def __str__(self) -> str:
        return ' '.join(map(shlex.quote, self.words))

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
    return Step('training', words, every_rank=True)


def measuring(command: str, folder: Path) -> Step:
    """The command that measures a run, or times all of a work folder."""
    tool = str(package_folder('tools') / 'benchmark.py')
    phase = 'measuring' if command == 'measure' else 'timing'
    return Step(phase, [sys.executable, tool, command, str(folder)])


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

    Args:
        folder (Path): Of the run. Its log and its times go there.
        steps (Sequence[Step]): Commands, one after the other.
        env (dict[str, str]): Added to their environment.
        driver (int, optional): Process on this machine without which the job
            must not go on.
        fruitless (int): How many starts in a row have saved nothing.
    """

    def __init__(
        self,
        folder: Path,
        steps: Sequence[Step],
        env: Dict[str, str],
        driver: Optional[int] = None,
        fruitless: int = 0,
    ) -> None:
        self.folder, self.steps, self.env = folder, steps, env
        self.driver, self.fruitless, self.saved = driver, fruitless, 0.0

    def __call__(self) -> None:
        """Run the steps that are not done.

        Raises:
            RuntimeError: If a command fails.
        """
        if self.driver is not None:
            threading.Thread(target=self._end_with_driver, daemon=True).start()
        place = JobEnvironment()
        if place.num_tasks > 1:
            # Jobs of one node must not meet at one port.
            os.environ['MASTER_PORT'] = str(job_port(int(place.raw_job_id)))
            TorchDistributedEnvironment().export(
                set_cuda_visible_devices=False, overwrite=True
            )
        rank = place.global_rank
        with (self.folder / JOBS / f'lock{rank}').open('w') as lock:
            # What is left of an earlier start may be about to end.
            fcntl.flock(lock, fcntl.LOCK_EX)
            self.saved = Run(self.folder).saved
            for step in self.steps:
                mine = step.every_rank or rank == 0
                if mine and not step.is_done(self.folder):
                    self._call(step, rank)

    def checkpoint(self) -> Optional[DelayedSubmission]:
        """The task with which submitit requeues a job that is cut off.

        Returns:
            DelayedSubmission, optional: None, which makes it fail, after
                several starts that have not come to a checkpoint.
        """
        fruitless = self.fruitless + 1
        if Run(self.folder).saved > self.saved:
            fruitless = 0
        if fruitless >= _FRUITLESS_STARTS:
            return None
        again = Task(self.folder, self.steps, self.env, None, fruitless)
        return DelayedSubmission(again)

    def _call(self, step: Step, rank: int) -> None:
        words, began = list(step.words), time.time()
        if step.phase == 'training' and self.saved:
            # Without a checkpoint, it would make mmdet forget load_from.
            words.append('--resume')
        with (self.folder / LOG).open('ab') as log:
            note = dict(began=began, saved=self.saved, log=log.tell())
            notes = {**phases(self.folder), step.phase: note}
            if rank == 0:
                note_phases(self.folder, notes)
            code = call(
                words,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self.env},
            )
        if code and self.driver is not None:
            # Submitit's controller would wait for ranks that wait for this
            # one. They all end without it.
            os.kill(os.getppid(), signal.SIGKILL)
        if code:
            raise RuntimeError(f'{step} ended with status {code}')
        if rank == 0:
            note['took'] = time.time() - began
            note_phases(self.folder, notes)

    def _end_with_driver(self) -> None:
        """End once submitit's controller is no longer the driver's child."""
        parent = self.driver
        with suppress(OSError):
            while parent == self.driver:
                time.sleep(0.5)
                stat = Path(f'/proc/{os.getppid()}/stat').read_text()
                parent = int(stat.rpartition(')')[2].split()[1])
        os.kill(os.getpid(), signal.SIGINT)  # which ends the command too
        time.sleep(5)
        os.kill(os.getpid(), signal.SIGKILL)


def call(words: Sequence[str], **options) -> int:
    """Run a command, of which nothing is left if this process ends.

    Args:
        words (Sequence[str]): The command.
        **options: Of :class:`subprocess.Popen`.

    Returns:
        int: Its exit status.
    """
    options.update(preexec_fn=_prepare_child, start_new_session=True)
    with subprocess.Popen(words, **options) as process:
        try:
            return process.wait()
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def _prepare_child() -> None:
    """Let a command die with its task, and by nothing that Slurm announces."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)


def phases(folder: Path) -> Dict[str, Dict[str, float]]:
    """Notes of a job's phases, of each the last start.

    Each has ``began``, in seconds since the epoch, ``saved``, the share of
    the training that was done before, ``log``, the position in the log, and,
    once it is over, ``took`` in seconds.
    """
    path = folder / JOBS / 'phases.json'
    return json.loads(path.read_text()) if path.is_file() else {}


def note_phases(folder: Path, notes: Dict[str, Dict[str, float]]) -> None:
    """Write what :func:`phases` reads."""
    write_whole(folder / JOBS / 'phases.json', json.dumps(notes))
