"""How far a benchmark's jobs are, and about how long they still take."""

import re
import time
from datetime import timedelta
from pathlib import Path
from typing import Dict, Sequence, Tuple

from rich.console import Console
from rich.live import Live
from rich.text import Text

from .runs import Run
from .tasks import LOG, Job

SECONDS_BETWEEN_LINES = 30
_TRAIN = re.compile(
    r'(?:Epoch\(train\)\s+\[(\d+)\]|Iter\(train\)\s+)\[\s*(\d+)/(\d+)\]'
)
# At the end of a log: more than mmengine writes between two such lines.
_TAIL_BYTES = 20_000
# What a phase is thought to take, next to others.
_WORK = dict(training=10, measuring=1, timing=1)


class Display:
    """How far jobs are: live in a terminal; elsewhere, a line now and then."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self.jobs, self.where = list(jobs), {}
        self.states = {job.name: 'waiting' for job in jobs}
        # How much of its work a job has done, and had when it was first seen
        # to run; '' is all of them.
        self.done = {job.name: look(job)[2] for job in jobs}
        self.first = {'': (time.time(), self._done_of_all())}
        self.console, self.last_line = Console(), 0.0
        self.live = Live(console=self.console, auto_refresh=False)

    def __enter__(self) -> 'Display':
        if self.console.is_terminal:
            self.live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.live.stop()

    def end(self, job: Job, succeeded: bool) -> None:
        """Note that a job has ended, and show why it failed."""
        self.states[job.name] = 'done' if succeeded else 'failed'
        self.done[job.name] = 1.0
        lines = [f'{job.name}: {self.states[job.name]}']
        if not succeeded:
            log = ['it has no log: did its job start?']
            if job.log.is_file():
                log = job.log.read_text(errors='replace').splitlines()[-5:]
            lines += [f'see {job.log}', *log]
        self._say('\n  '.join(lines))

    def update(self, states: Dict[str, str]) -> None:
        """Show the present states, 'waiting' or 'running', by jobs' names."""
        for job in self.jobs:
            name = job.name
            if self.states[name] in ('done', 'failed'):
                continue
            self.states[name] = states.get(name, 'waiting')
            if self.states[name] == 'running':
                found = look(job)
                self.states[name], self.where[name], self.done[name] = found
                self.first.setdefault(name, (time.time(), self.done[name]))
        if self.live.is_started:
            text = Text(self.line().replace('; ', '\n'))
            self.live.update(text, refresh=True)
        elif time.time() - self.last_line > SECONDS_BETWEEN_LINES:
            self.last_line = time.time()
            self._say(self.line())

    def _say(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _done_of_all(self) -> float:
        work = [sum(_WORK[s.phase] for s in job.steps) for job in self.jobs]
        done = (w * self.done[job.name] for w, job in zip(work, self.jobs))
        return sum(done) / max(sum(work), 1)

    def left(self, name: str = '') -> str:
        """', about 0:02:00 left' of a job, at its speed so far, or of all."""
        since, first = self.first[name]
        done = self.done[name] if name else self._done_of_all()
        if not first < done < 1:
            return ''
        seconds = (time.time() - since) * (1 - done) / (done - first)
        return f', about {timedelta(seconds=round(seconds))} left'

    def line(self) -> str:
        """How far all jobs are, and each that runs."""
        states = list(self.states.values())
        counts = [f'{states.count("done")} of {len(states)} done']
        for state in ('failed', 'waiting'):
            if state in states:
                counts.append(f'{states.count(state)} {state}')
        parts = [', '.join(counts) + self.left()]
        for name, state in self.states.items():
            if state in _WORK:
                where = f'{state} {self.where[name]}'.strip()
                parts.append(f'{name}: {where}{self.left(name)}')
        return '; '.join(parts)


def look(job: Job) -> Tuple[str, str, float]:
    """A job's present phase, where its training is, and the share done."""
    done, work = 0.0, sum(_WORK[step.phase] for step in job.steps)
    for step in job.steps:
        if not step.is_done(job.folder):
            where, share = '', 0.0
            if step.phase == 'training':
                where, share = trained(job.folder)
            return step.phase, where, done + share * _WORK[step.phase] / work
        done += _WORK[step.phase] / work
    return step.phase, '', 1.0


def trained(folder: Path) -> Tuple[str, float]:
    """Where a training is, by the end of its log: in words, and the share."""
    lines, log = [], folder / LOG
    if log.is_file():
        with log.open('rb') as file:
            file.seek(max(log.stat().st_size - _TAIL_BYTES, 0))
            lines = _TRAIN.findall(file.read().decode(errors='replace'))
    if not lines:
        return '', Run(folder).saved
    epoch, iteration, number = lines[-1]
    share, where = int(iteration) / int(number), f'{iteration}/{number}'
    if not epoch:
        return where, share
    _, epochs = Run(folder).length
    return f'epoch {epoch}/{epochs} {where}', (int(epoch) - 1 + share) / epochs
