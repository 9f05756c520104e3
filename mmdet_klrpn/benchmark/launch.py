"""Commands that train and measure a run, on whatever there is to run on."""

import os
import shlex
import sys
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional

import torch

from .runs import Run

_PACKAGE = Path(__file__).resolve().parent.parent
# Of a checkout, or where mim finds those of an installed package.
TOOLS = _PACKAGE.parent / 'tools'
if not (TOOLS / 'train.py').exists():
    TOOLS = _PACKAGE / '.mim' / 'tools'
LAUNCHERS = ('none', 'pytorch', 'slurm')
_GPUS_PER_NODE = 8


class Command(NamedTuple):
    """A command and what its environment adds.

    Attributes:
        words (list[str]): The command.
        env (dict[str, str]): Added to the environment.
    """

    words: List[str]
    env: Dict[str, str]

    def __str__(self) -> str:
        """As a shell takes it."""
        env = [f'{key}={shlex.quote(v)}' for key, v in self.env.items()]
        return ' '.join([*env, *map(shlex.quote, self.words)])


class Launch(NamedTuple):
    """How trainings are started.

    Attributes:
        launcher (str): One of ``LAUNCHERS``.
        gpus (int): Processes of a training.
        partition (str, optional): Of slurm.
    """

    launcher: str = 'none'
    gpus: int = 1
    partition: Optional[str] = None

    def check(self) -> None:
        """Raise a ValueError that names the option that does not fit."""
        if self.launcher not in LAUNCHERS:
            raise ValueError(
                f'--launcher must be one of {", ".join(LAUNCHERS)}, but is '
                f'{self.launcher}'
            )
        if self.gpus < 1:
            raise ValueError(f'--gpus must be at least 1, but is {self.gpus}')
        if self.launcher == 'none' and self.gpus > 1:
            raise ValueError(
                f'--gpus {self.gpus} needs --launcher pytorch or slurm'
            )
        if self.launcher == 'slurm' and not self.partition:
            raise ValueError('--launcher slurm needs --partition')

    def slots(self, jobs: Optional[int], runs: int) -> List[Dict[str, str]]:
        """Environments of the jobs that run side by side.

        Without a number: all that slurm queues, one for each group of GPUs,
        or one for each group of cores.

        Args:
            jobs (int, optional): How many.
            runs (int): How many there are to run.

        Raises:
            ValueError: If the GPUs do not suffice for one.
        """
        if self.launcher == 'slurm':
            return [{} for _ in range(jobs or max(runs, 1))]
        devices = visible_gpus()
        if devices and self.gpus > len(devices):
            raise ValueError(
                f'--gpus {self.gpus}, but {len(devices)} are visible: '
                f'{", ".join(devices)}'
            )
        units = len(devices) or os.cpu_count() or 1
        jobs = jobs or max(units // self.gpus, 1)
        threads = max((os.cpu_count() or 1) // (jobs * self.gpus), 1)
        groups = max(len(devices) // self.gpus, 1)
        slots = []
        for i in range(jobs):
            slot = {'OMP_NUM_THREADS': str(threads)}
            if devices:
                first = i % groups * self.gpus
                own = devices[first : first + self.gpus]
                slot['CUDA_VISIBLE_DEVICES'] = ','.join(own)
            slots.append(slot)
        return slots

    def train(self, run: Run, config: Path, slot: Dict[str, str]) -> Command:
        """The command that trains a run, from where it was cut if it was."""
        options = ['--resume', '--cfg-options', f'randomness.seed={run.seed}']
        folder = ['--work-dir', str(run.folder)]
        if self.launcher == 'none':
            words = [sys.executable, str(TOOLS / 'train.py'), str(config)]
            return Command([*words, *folder, *options], slot)
        if self.launcher == 'pytorch':
            script = str(TOOLS / 'dist_train.sh')
            words = [script, str(config), str(self.gpus)]
            return Command([*words, *folder, *options], slot)
        words = [
            *(str(TOOLS / 'slurm_train.sh'), self.partition),
            *(_job_name(run), str(config), str(run.folder)),
        ]
        per_node = min(self.gpus, _GPUS_PER_NODE)
        env = {'GPUS': str(self.gpus), 'GPUS_PER_NODE': str(per_node)}
        return Command([*words, *options], env)

    def measure(self, run: Run, slot: Dict[str, str]) -> Command:
        """The command that measures a run, in one process."""
        python = 'python' if self.launcher == 'slurm' else sys.executable
        words = [python, str(TOOLS / 'benchmark.py'), 'measure']
        words.append(str(run.folder))
        if self.launcher == 'slurm':
            srun = ['srun', '-p', self.partition, '--gres=gpu:1', '--ntasks=1']
            srun.append(f'--job-name={_job_name(run)}')
            return Command([*srun, *words], {})
        own = dict(slot)
        if 'CUDA_VISIBLE_DEVICES' in own:
            first = own['CUDA_VISIBLE_DEVICES'].split(',')[0]
            own['CUDA_VISIBLE_DEVICES'] = first
        return Command(words, own)


def _job_name(run: Run) -> str:
    return f'{run.config}-{run.seed}'


def visible_gpus() -> List[str]:
    """GPUs that jobs may use, as CUDA_VISIBLE_DEVICES names them."""
    named = os.environ.get('CUDA_VISIBLE_DEVICES')
    if named is not None:
        return [name for name in named.split(',') if name]
    return [str(i) for i in range(torch.cuda.device_count())]
