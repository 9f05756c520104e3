"""How far a benchmark's jobs are, and how long they still take."""

import re
import time
from pathlib import Path
from typing import Dict, List, Optional, Sequence, Tuple

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from .runs import Run
from .tasks import LOG, Job, phases

SECONDS_BETWEEN_LINES = 30
_TRAIN = re.compile(
    r'(?:Epoch\(train\)\s+\[(\d+)\]\[\s*(\d+)/(\d+)\]|'
    r'Iter\(train\)\s+\[\s*(\d+)/(\d+)\])'
)
# At the end of a log: more than mmengine writes between two such lines.
_TAIL_BYTES = 20_000
_ACTIVE = ('timing', 'measuring', 'training', 'starting')


class Display:
    """A live table in a terminal; elsewhere, a line now and then.

    Args:
        jobs (Sequence[Job]): All jobs.
        slots (int): How many run side by side; 0 if a queue decides.
    """

    def __init__(self, jobs: Sequence[Job], slots: int) -> None:
        self.jobs, self.slots = list(jobs), slots
        self.states = {job.name: 'waiting' for job in jobs}
        # Of the phase that a job is in: where it is, and the seconds left.
        self.now: Dict[str, Tuple[str, Optional[float]]] = {}
        # How much of its training a job has to do.
        self.share = {job.name: 1 - Run(job.folder).saved for job in jobs}
        self.length: Dict[str, int] = {}
        # Seconds of a detector's whole phase, of runs that have ended or, as
        # long as there is none, of one that is running.
        self.took: Dict[Tuple[str, str], List[float]] = {}
        self.guess: Dict[Tuple[str, str], float] = {}
        names = {job.folder.parent: job.detector for job in jobs}
        for folder in (run for x in names for run in x.glob('seed*')):
            self._learn(names[folder.parent], folder)
        self.console, self.last_line, self.live = Console(), 0.0, None
        if self.console.is_terminal:
            self.live = Live(console=self.console, auto_refresh=False)

    def __enter__(self) -> 'Display':
        if self.live:
            self.live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self.live:
            self.live.stop()

    def end(self, job: Job, succeeded: bool) -> None:
        """Note that a job has ended, and show why it failed."""
        self.states[job.name] = 'done' if succeeded else 'failed'
        lines = [f'{job.name}: {self.states[job.name]}']
        if succeeded:
            self._learn(job.detector, job.folder)
        else:
            lines += [f'see {job.log}', *last_lines(job.log, 5)]
        self._say('\n  '.join(lines))

    def update(self, states: Dict[str, str]) -> None:
        """Show the jobs' present states.

        Args:
            states (dict[str, str]): 'waiting' or 'running', by the names of
                those that have not ended.
        """
        for job in self.jobs:
            if self.states[job.name] not in ('done', 'failed'):
                state = states.get(job.name, 'waiting')
                state = self._phase(job) if state == 'running' else state
                self.states[job.name] = state
        if self.live:
            self.live.update(self._table(), refresh=True)
        elif time.time() - self.last_line > SECONDS_BETWEEN_LINES:
            self.last_line = time.time()
            self._say(self.line())

    def _say(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _learn(self, detector: str, folder: Path) -> None:
        """Take the times of the phases of a run that are over."""
        for phase, note in phases(folder).items():
            share = 1 - note['saved'] * (phase == 'training')
            if 'took' in note and share > 0:
                took = self.took.setdefault((detector, phase), [])
                took.append(note['took'] / share)

    def _phase(self, job: Job) -> str:
        """The phase of a running job, 'starting' before the first."""
        notes = phases(job.folder)
        own = (step.phase for step in job.steps)
        phase = next(
            (x for x in own if 'took' not in notes.get(x, ['took'])), ''
        )
        if not phase:
            return 'starting'
        where, left, note = '', None, notes[phase]
        elapsed = time.time() - note['began']
        iteration = last_iteration(job.folder / LOG, int(note['log']))
        if phase == 'training' and iteration:
            where, share = self._where(job, *iteration)
            if share > note['saved']:
                whole = elapsed / (share - note['saved'])
                left = self.guess[job.detector, phase] = whole
                left *= 1 - share
        elif phase != 'training':
            mean = self._mean(job, phase)
            left = None if mean is None else max(mean - elapsed, 0.0)
        self.now[job.name] = where, left
        return phase

    def _where(
        self, job: Job, epoch: Optional[int], iteration: int, number: int
    ) -> Tuple[str, float]:
        """Where a training is, in words and as a share."""
        share = iteration / number
        if epoch is None:
            return f'{iteration}/{number}', share
        if job.name not in self.length:  # read once
            self.length[job.name] = Run(job.folder).length[1]
        epochs = self.length[job.name]
        share = (epoch - 1 + share) / epochs
        return f'epoch {epoch}/{epochs} {iteration}/{number}', share

    def _mean(self, job: Job, phase: str) -> Optional[float]:
        """Seconds of a phase that a job has before it, None if unknown."""
        key = job.detector, phase
        took = self.took.get(
            key, [self.guess[key]] if key in self.guess else []
        )
        share = self.share[job.name] if phase == 'training' else 1
        return share * sum(took) / len(took) if took else None

    def left(self, job: Job) -> Tuple[float, bool]:
        """Seconds that a job still takes at least, and whether that is all.

        A training's speed is that of this start, so it counts validation.
        Measuring takes what it took other seeds of the detector.
        """
        state, parts = self.states[job.name], []
        if state in ('done', 'failed'):
            return 0.0, True
        later = [step.phase for step in job.steps]
        if state in later:
            later = later[later.index(state) + 1 :]
            parts.append(self.now[job.name][1])
        parts += [self._mean(job, phase) for phase in later]
        return sum(part or 0.0 for part in parts), None not in parts

    def left_of_all(self) -> str:
        """How long all jobs take at these slots, if only at least."""
        waiting = [self.states[job.name] == 'waiting' for job in self.jobs]
        ends, end = [0.0] * (self.slots or len(self.jobs)), {}
        unknown = not self.slots and any(waiting)  # how long the queue takes
        for _, i in sorted(zip(waiting, range(len(waiting)))):
            job, place = self.jobs[i], ends.index(min(ends))
            left, known = self.left(job)
            unknown |= not known
            start = max(ends[place], end.get(job.after, 0.0))
            ends[place] = end[job.name] = start + left
        about = 'at least' if unknown else 'about'
        left = f', {about} {format_time(max(ends))} left'
        return left if max(ends) >= 1 else ''

    def line(self) -> str:
        """How far all jobs are."""
        states = list(self.states.values())
        counts = [f'{states.count("done")} of {len(states)} done']
        for state in ('failed', 'waiting'):
            if state in states:
                counts.append(f'{states.count(state)} {state}')
        parts = [', '.join(counts) + self.left_of_all()]
        for job in self.jobs:
            state = self.states[job.name]
            if state in _ACTIVE:
                where = self.now.get(job.name, ('',))[0]
                parts.append(f'{job.name}: {state} {where}'.strip())
        return '; '.join(parts)

    def _table(self) -> Table:
        """All jobs, of which a low terminal shows those that run first."""
        table = Table(caption=self.line().split(';')[0])
        for heading in ('job', 'state', '', 'left'):
            table.add_column(heading)
        order = ('failed', *_ACTIVE, 'waiting', 'done')
        for job in sorted(
            self.jobs, key=lambda job: order.index(self.states[job.name])
        ):
            state, (left, known) = self.states[job.name], self.left(job)
            where = self.now.get(job.name, ('',))[0]
            table.add_row(
                *(escape(job.name), state, where * (state == 'training')),
                format_time(left) if left and known else '',
            )
        return table


def last_iteration(
    log: Path, begin: int = 0
) -> Optional[Tuple[Optional[int], int, int]]:
    """Epoch, iteration and number of iterations that a log says last.

    The epoch is None in a training by iterations; all is None where the log
    has no iteration yet.

    Args:
        log (Path): Of mmengine.
        begin (int): Bytes of earlier trainings.
    """
    if not log.is_file():
        return None
    with log.open('rb') as file:
        file.seek(max(log.stat().st_size - _TAIL_BYTES, begin))
        text = file.read().decode(errors='replace')
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
