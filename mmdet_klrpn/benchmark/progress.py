"""How far a benchmark's jobs are, and how long they still take."""

import re
import sys
import time
from pathlib import Path
from typing import Dict, List, Optional, Sequence, Tuple

from mmengine.config import Config
from rich.console import Console
from rich.live import Live
from rich.table import Table

from .runs import CONFIG
from .tasks import phases

SECONDS_BETWEEN_LINES = 30
_TRAIN = re.compile(
    r'(?:Epoch\(train\)\s+\[(\d+)\]\[\s*(\d+)/(\d+)\]|'
    r'Iter\(train\)\s+\[\s*(\d+)/(\d+)\])'
)
# At the end of a log: more than mmengine writes between two such lines.
_TAIL_BYTES = 20_000


class Display:
    """A live table in a terminal; elsewhere, a line now and then.

    Args:
        jobs (Sequence[Job]): All jobs.
        slots (int): How many run side by side; 0 if a queue decides.
    """

    def __init__(self, jobs: Sequence[object], slots: int) -> None:
        self.jobs, self.slots = list(jobs), slots
        self.ended: Dict[str, str] = {}
        self.took: Dict[Tuple[str, str], List[float]] = {}
        self.first: Dict[str, Tuple[float, float]] = {}
        self.epochs: Dict[Path, int] = {}
        self.states: Dict[str, str] = {}
        self.console = Console(file=sys.stdout)
        self.live = None
        if self.console.is_terminal:
            self.live = Live(console=self.console, get_renderable=self._table)
        self.last_line = 0.0

    def __enter__(self) -> 'Display':
        for job in self.jobs:  # earlier runs tell how long a phase takes
            for folder in job.folder.parent.glob('seed*'):
                self._learn(job.detector, folder)
        if self.live:
            self.live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self.live:
            self.live.stop()

    def end(self, job: object, succeeded: bool) -> None:
        """Note that a job has ended, and show why it failed."""
        self.ended[job.name] = 'done' if succeeded else 'failed'
        if succeeded:
            self._learn(job.detector, job.folder)
        self._say(f'{job.name}: {self.ended[job.name]}')
        if not succeeded:
            lines = [f'see {job.log}', *last_lines(job.log, 5)]
            for line in lines:
                self._say(f'  {line}')

    def update(self, states: Dict[str, str]) -> None:
        """Show the jobs' present states.

        Args:
            states (dict[str, str]): 'waiting' or 'running', by job's name.
        """
        self.states = states
        if self.live:
            self.live.refresh()
        elif time.time() - self.last_line > SECONDS_BETWEEN_LINES:
            self.last_line = time.time()
            self._say(self._line())

    def _say(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _learn(self, detector: str, folder: Path) -> None:
        """Take the times of a finished run's phases."""
        times = phases(folder)
        names = [n for n in ('training', 'measuring', 'done') if n in times]
        if names[-1:] == ['done']:
            for name, following in zip(names, names[1:]):
                took = times[following] - times[name]
                self.took.setdefault((detector, name), []).append(took)

    def state(self, job: object) -> str:
        """'waiting', 'training', 'measuring', 'timing', 'done', 'failed'."""
        if job.name in self.ended:
            return self.ended[job.name]
        if self.states.get(job.name, 'waiting') == 'waiting':
            return 'waiting'
        times = phases(job.folder)
        own = [s.phase for s in job.steps if s.phase in times]
        return max(own, key=times.get) if own else 'starting'

    def where(self, job: object) -> Tuple[str, Optional[float]]:
        """Epoch and iteration of a training, and the share that is done."""
        found = last_iteration(job.log)
        if found is None:
            return '', None
        epoch, iteration, number = found
        if epoch is None:
            return f'{iteration}/{number}', iteration / number
        if job.folder not in self.epochs:
            loop = Config.fromfile(job.folder / CONFIG).train_cfg
            self.epochs[job.folder] = loop.max_epochs
        epochs = self.epochs[job.folder]
        share = (epoch - 1 + iteration / number) / epochs
        return f'epoch {epoch}/{epochs} {iteration}/{number}', share

    def left(self, job: object) -> Optional[float]:
        """Seconds that a job still takes; None where it is unknown.

        A training's speed is that since it was first seen, so it counts
        validation, and not what an earlier start had done. Measuring takes
        what it took other seeds of the detector.
        """
        state = self.state(job)
        if state in ('done', 'failed'):
            return 0.0
        later = [step.phase for step in job.steps]
        left = 0.0
        if state in later:
            later = later[later.index(state) + 1 :]
            left = self._left_of_phase(job, state)
        means = [self._mean(job.detector, phase) for phase in later]
        return None if None in (left, *means) else left + sum(means)

    def _left_of_phase(self, job: object, state: str) -> Optional[float]:
        now = time.time()
        if state == 'training':
            _, share = self.where(job)
            if share is None:
                return None
            since, before = self.first.setdefault(job.name, (now, share))
            if share > before:
                return (1 - share) / (share - before) * (now - since)
        mean = self._mean(job.detector, state)
        if mean is None:
            return None
        return max(mean - (now - phases(job.folder)[state]), 0.0)

    def _mean(self, detector: str, phase: str) -> Optional[float]:
        took = self.took.get((detector, phase))
        return sum(took) / len(took) if took else None

    def left_of_all(self) -> str:
        """How long all jobs take, or at least; '' if a queue decides."""
        if not self.slots:
            return ''
        lefts = [self.left(job) for job in self.jobs]
        ends = [0.0] * self.slots
        for left in sorted(lefts, key=lambda left: left is None):
            at = ends.index(min(ends))
            ends[at] += left or 0.0
        about = 'at least' if None in lefts else 'about'
        return f', {about} {format_time(max(ends))} left' if max(ends) else ''

    def _line(self) -> str:
        states = [self.state(job) for job in self.jobs]
        parts = [
            f'{job.name}: {state} {self.where(job)[0]}'.strip()
            for job, state in zip(self.jobs, states)
            if state not in ('done', 'failed', 'waiting')
        ]
        counts = f'{states.count("done")} of {len(states)} done'
        for state in ('failed', 'waiting'):
            if state in states:
                counts += f', {states.count(state)} {state}'
        return counts + self.left_of_all() + ''.join(f'; {p}' for p in parts)

    def _table(self) -> Table:
        table = Table(caption=self._line().split(';')[0])
        for heading in ('job', 'state', '', 'left'):
            table.add_column(heading)
        for job in self.jobs[: max(self.console.height - 6, 5)]:
            state, left = self.state(job), self.left(job)
            where = self.where(job)[0] if state == 'training' else ''
            table.add_row(
                *(job.name, state, where),
                format_time(left) if left else '',
            )
        return table


def last_iteration(log: Path) -> Optional[Tuple[Optional[int], int, int]]:
    """Epoch, iteration and number of iterations that a log says last.

    The epoch is None in a training by iterations; all is None where the log
    has no iteration yet.
    """
    try:
        with log.open('rb') as file:
            file.seek(max(log.stat().st_size - _TAIL_BYTES, 0))
            text = file.read().decode(errors='replace')
    except FileNotFoundError:
        return None
    lines = _TRAIN.findall(text)
    if not lines:
        return None
    epoch, in_epoch, of_epoch, in_all, of_all = lines[-1]
    if epoch:
        return int(epoch), int(in_epoch), int(of_epoch)
    return None, int(in_all), int(of_all)


def format_time(seconds: float) -> str:
    """Hours and minutes, or minutes and seconds."""
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f'{minutes} min {rest:02d} s'
    return f'{minutes // 60} h {minutes % 60:02d} min'


def last_lines(log: Path, count: int) -> List[str]:
    """The end of a log."""
    if not log.is_file():
        return ['it has no log: did its job start?']
    return log.read_text(errors='replace').splitlines()[-count:]
