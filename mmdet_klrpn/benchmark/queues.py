"""Where jobs run: side by side here, or by submitit in Slurm's queue.

A job that is in no queue any more has ended. So nothing depends on Slurm's
accounting, which many a cluster does not have.
"""

import math
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from itertools import takewhile
from pathlib import Path
from typing import Dict, List, Optional, Tuple
from unittest.mock import patch

import submitit
import torch

from .tasks import JOBS, Job, Task, end_with_parent

GPUS_PER_NODE = 8
SECONDS_BETWEEN_CALLS = 10  # of squeue
SECONDS_FOR_FILES = 15  # until a shared disk shows what a job has written
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # that end a program
_SECONDS_TO_END = 20


class LocalQueue:
    """Jobs on this machine: one for each group of GPUs, or of cores.

    Raises:
        ValueError: If the GPUs do not suffice for a training.
    """

    patience = 0

    def __init__(self, gpus: int, jobs: Optional[int] = None) -> None:
        devices = visible_gpus()
        if devices and gpus > len(devices):
            seen = f'{len(devices)} are visible: {", ".join(devices)}'
            raise ValueError(f'--gpus {gpus}, but {seen}')
        cores = len(os.sched_getaffinity(0))
        count = jobs or max((len(devices) or cores) // gpus, 1)
        threads = max(cores // (count * gpus), 1)
        self.has_gpus, self.slots = bool(devices), []
        for i in range(count):
            self.slots.append({'OMP_NUM_THREADS': str(threads)})
            if devices:
                first = i % max(len(devices) // gpus, 1) * gpus
                own = ','.join(devices[first : first + gpus])
                self.slots[i]['CUDA_VISIBLE_DEVICES'] = own
        self.free = list(self.slots)
        self.running: Dict[str, Tuple[dict, list]] = {}  # slot and processes

    def describe(self, job: Job) -> str:
        """How a job would run."""
        return f'{job.gpus} processes, {self.slots[0]}'

    def submit(self, job: Job) -> bool:
        """Start a job, if there is a place for it."""
        if not self.free:
            return False
        slot, ranks = self.free.pop(0), []
        (job.folder / JOBS).mkdir(parents=True, exist_ok=True)
        with socket.socket() as probe:
            probe.bind(('127.0.0.1', 0))
            port = str(probe.getsockname()[1])
        env = dict(slot, MASTER_ADDR='127.0.0.1', MASTER_PORT=port)
        for rank in range(job.gpus):
            env.update(RANK=str(rank), LOCAL_RANK=str(rank))
            given = Task(job), rank, dict(env, WORLD_SIZE=str(job.gpus))
            fork = multiprocessing.get_context('fork').Process
            ranks.append(fork(target=_run, args=given, daemon=True))
            ranks[-1].start()
        self.running[job.name] = slot, ranks
        return True

    def states(self) -> Dict[str, str]:
        """'running', of each job that was submitted and has not ended."""
        for name, (slot, ranks) in list(self.running.items()):
            codes = [rank.exitcode for rank in ranks]
            if any(codes):  # the others may wait for it
                self._end(ranks)
            if None not in codes:
                self.free.append(slot)
                del self.running[name]
        return dict.fromkeys(self.running, 'running')

    def cancel(self) -> None:
        """End all jobs, and wait until nothing of them is left."""
        end = time.monotonic() + _SECONDS_TO_END
        while self.states():
            for _, ranks in self.running.values():
                late = time.monotonic() > end
                self._end(ranks, signal.SIGKILL if late else signal.SIGINT)
            time.sleep(0.1)

    @staticmethod
    def _end(ranks: list, number: int = signal.SIGINT) -> None:
        for rank in ranks:
            if rank.exitcode is None:
                os.kill(rank.pid, number)


def _run(task: Task, rank: int, env: Dict[str, str]) -> None:
    """Run a task in a process of its own, whose end is its command's."""

    def interrupt(*_: object) -> None:
        for number in SIGNALS:  # so that none disturbs the end
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, interrupt)
    end_with_parent(signal.SIGINT)
    os.environ.update(env)
    try:
        sys.exit(task.run(rank))
    except KeyboardInterrupt:
        sys.exit(1)


class SlurmQueue:
    """Jobs in the queue of a Slurm cluster, so many at once.

    Options are those of sbatch, by their long names.
    """

    patience = SECONDS_FOR_FILES

    def __init__(
        self, gpus: int, options: Dict[str, str], jobs: Optional[int] = None
    ) -> None:
        self.options, self.most = options, jobs or math.inf
        self.has_gpus = options.get('gres') != 'none'
        self.places: Dict[str, Path] = {}  # files, by job's name
        self.listed: Dict[str, Tuple[str, Path]] = {}  # state and files, by id
        self.looked = -math.inf
        self.parameters(gpus)

    def describe(self, job: Job) -> str:
        """How a job would be submitted."""
        found = self.parameters(job.gpus)
        words = dict(nodes=found['nodes'])
        words['ntasks-per-node'] = found['ntasks_per_node']
        words.update(found['additional_parameters'])
        values = {k: '' if x is True else f'={x}' for k, x in words.items()}
        return ' '.join(['sbatch', *(f'--{k}{x}' for k, x in values.items())])

    def parameters(self, gpus: int) -> Dict[str, object]:
        """Submitit's parameters of a job of so many processes.

        Raises:
            ValueError: If they cannot be spread evenly over nodes.
        """
        own = {'cpus-per-task': '4', 'requeue': True, **self.options}
        per_node = own.pop('ntasks-per-node', None) or GPUS_PER_NODE
        nodes = -(-gpus // int(per_node))
        if gpus % nodes:
            raise ValueError(
                f'--gpus {gpus} cannot be spread evenly over {nodes} nodes '
                f'of {per_node}: give a multiple of {per_node}'
            )
        if not {'gres', 'gpus-per-node', 'gpus-per-task', 'gpus'} & own.keys():
            own['gres'] = f'gpu:{gpus // nodes}'
        return dict(
            nodes=nodes,
            ntasks_per_node=gpus // nodes,
            stderr_to_stdout=True,
            wckey=None,
            # Later versions than 22.05 of srun ask for one core otherwise.
            setup=['export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK'],
            srun_args=['--kill-on-bad-exit=1', '--wait=0'],
            additional_parameters=own,
        )

    def submit(self, job: Job) -> bool:
        """Queue a job, or find the one that an earlier call has queued."""
        if self.looked == -math.inf:
            self._look()
        self.places[job.name] = place = job.files
        live = self.states()
        if job.name in live:
            return True
        if len(live) >= self.most:
            return False
        place.mkdir(parents=True, exist_ok=True)
        for path in place.glob('*.pkl'):  # another job may get its number
            path.unlink()
        executor = _Executor(place, max_num_timeout=10**7)
        given = self.parameters(job.gpus)
        executor.update_parameters(job_name=job.name, **given)
        try:
            queued = executor.submit(Task(job))
        except RuntimeError as error:
            if not live:
                raise RuntimeError(f'sbatch: {error}') from None
            self.most = len(live)  # as many as the cluster allows, it seems
            return False
        self.listed[queued.job_id] = 'PENDING', place
        return True

    def states(self) -> Dict[str, str]:
        """'waiting' or 'running', of each job that has not ended."""
        if time.monotonic() - self.looked > SECONDS_BETWEEN_CALLS:
            self._look()
        found = {place: state for state, place in self.listed.values()}
        return {
            name: 'waiting' if found[place] == 'PENDING' else 'running'
            for name, place in self.places.items()
            if place in found
        }

    def cancel(self) -> None:
        """Cancel all jobs, and wait for their end."""
        places = set(self.places.values())
        for wait in (*[1] * 3 * _SECONDS_TO_END, 0):
            self._look()
            left = [n for n, (_, at) in self.listed.items() if at in places]
            if not left:
                return
            # Tasks end by the first at once, and others by the second.
            for words in (['--signal=INT'], []):
                subprocess.run(['scancel', '--quiet', *words, *left])
            time.sleep(wait)
        print(f'still in the queue: run scancel {" ".join(left)}')

    def _look(self) -> None:
        """List the state and script of every job that has not ended."""
        words = ['squeue', '-h', '-u', str(os.getuid()), '-o', '%i|%T|%o']
        result = subprocess.run(words, capture_output=True, text=True)
        now = time.monotonic()
        if not result.returncode:
            self.listed, self.looked = {}, now
            for line in result.stdout.splitlines():
                number, state, script = line.split('|', 2)
                self.listed[number] = state, Path(script).resolve().parent
        elif now - self.looked > 600:  # its controller may be restarting
            raise RuntimeError(f'squeue fails: {result.stderr.strip()}')


class _Executor(submitit.SlurmExecutor):
    """Leaves the time limit to the partition if the user names none."""

    def _make_submission_file_text(self, command: str, uid: str) -> str:
        with patch.dict(self.parameters, time=None):
            return super()._make_submission_file_text(command, uid)


def visible_gpus() -> List[str]:
    """GPUs that jobs may use, as CUDA_VISIBLE_DEVICES names them."""
    named = os.environ.get('CUDA_VISIBLE_DEVICES')
    if named is None:
        return [str(i) for i in range(torch.cuda.device_count())]
    names = (name.strip() for name in named.split(','))
    return list(takewhile(lambda name: name and name[0] != '-', names))
