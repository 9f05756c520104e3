"""A benchmark's job, as it runs on whatever machine it is given."""

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
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional

from submitit import JobEnvironment
from submitit.helpers import Checkpointable, TorchDistributedEnvironment

from ..utils.launchers import job_port
from ..utils.package_folders import package_folder
from .runs import Run

_PR_SET_PDEATHSIG = 1  # of Linux' prctl
# Slurm sends these to every process of a job: its own decides what they mean.
_IGNORED = (signal.SIGTERM, signal.SIGUSR2)


class Step(NamedTuple):
    """A command of a job.

    Attributes:
        phase (str): 'training', 'measuring' or 'timing'.
        words (list[str]): The command.
        every_rank (bool): Whether each process of the job runs it.
    """

    phase: str
    words: List[str]
    every_rank: bool = False

    def __str__(self) -> str:
        """As a shell takes it."""
        return ' '.join(map(shlex.quote, self.words))


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


class Task(Checkpointable):
    """Runs the steps of a job; requeued, it goes on where it was cut.

    Args:
        folder (Path): Of the run. Its log and its times go there.
        steps (list[Step]): Commands, one after the other.
        env (dict[str, str]): Added to their environment.
        driver (int, optional): Process on this machine without which the job
            must not go on.
    """

    def __init__(
        self,
        folder: Path,
        steps: List[Step],
        env: Dict[str, str],
        driver: Optional[int] = None,
    ) -> None:
        self.folder, self.steps, self.env = folder, steps, env
        self.driver = driver

    def __call__(self) -> None:
        """Run the steps.

        Raises:
            RuntimeError: If a command fails, or another job has the folder.
        """
        if self.driver is not None:
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            threading.Thread(target=self._end_with_driver, daemon=True).start()
        place = JobEnvironment()
        if place.num_tasks > 1:
            # Jobs of one node must not meet at one port.
            os.environ['MASTER_PORT'] = str(job_port(int(place.raw_job_id)))
            TorchDistributedEnvironment().export(
                set_cuda_visible_devices=False, overwrite=True
            )
        with (self.folder / f'.lock{place.global_rank}').open('w') as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RuntimeError(
                    f'another job works in {self.folder}'
                ) from None
            for step in self.steps:
                if step.every_rank or place.global_rank == 0:
                    self._call(step, place.global_rank)

    def _call(self, step: Step, rank: int) -> None:
        words = list(step.words)
        if step.phase == 'training':
            if Run(self.folder).checkpoint is not None:
                return
            # Without a checkpoint, it would make mmdet forget load_from.
            if (self.folder / 'last_checkpoint').exists():
                words.append('--resume')
        if rank == 0:
            note_phase(self.folder, step.phase)
        with (self.folder / 'benchmark.log').open('ab') as log:
            process = subprocess.Popen(
                words,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self.env},
                preexec_fn=_die_with_parent,
            )
            try:
                code = process.wait()
            finally:
                process.kill()
                process.wait()
        if code:
            raise RuntimeError(f'{step} ended with status {code}')
        if rank == 0:
            note_phase(self.folder, 'done')

    def _end_with_driver(self) -> None:
        while os.path.exists(f'/proc/{self.driver}'):
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGKILL)


def _die_with_parent() -> None:
    """Let a command die with its task, and by nothing that Slurm announces."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)


def note_phase(folder: Path, phase: str) -> None:
    """Note in a run's folder which phase begins now."""
    times = phases(folder)
    times[phase] = time.time()
    (folder / 'phases.json').write_text(json.dumps(times))


def phases(folder: Path) -> Dict[str, float]:
    """When each phase of a run last began, in seconds since the epoch."""
    try:
        return json.loads((folder / 'phases.json').read_text())
    except (FileNotFoundError, ValueError):  # none yet, or being written
        return {}
