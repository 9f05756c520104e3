"""How far trainings are, from mmengine's logs."""

import re
from pathlib import Path
from typing import List, NamedTuple, Optional, Sequence

_TRAIN = re.compile(
    r'(?:Epoch\(train\)\s+\[(\d+)\]\[\s*(\d+/\d+)\]|'
    r'Iter\(train\)\s+\[\s*(\d+/\d+)\]).*?'
    r'eta: (?:(\d+) days?, )?(\d+):(\d+):(\d+)'
)
# Of the end of a log, more than mmengine writes between two such lines.
_TAIL_BYTES = 20_000


class Progress(NamedTuple):
    """Where a training is.

    Attributes:
        where (str): Epoch and iteration.
        seconds_left (int): As mmengine estimates.
    """

    where: str
    seconds_left: int


def read_progress(log: Path) -> Optional[Progress]:
    """The last progress in a log of mmengine; None if there is none."""
    try:
        with log.open('rb') as file:
            file.seek(max(log.stat().st_size - _TAIL_BYTES, 0))
            text = file.read().decode(errors='replace')
    except FileNotFoundError:
        return None
    lines = _TRAIN.findall(text)
    if not lines:
        return None
    epoch, in_epoch, in_all, *eta = lines[-1]
    days, hours, minutes, seconds = (int(part or 0) for part in eta)
    where = f'epoch {epoch} {in_epoch}' if epoch else in_all
    left = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    return Progress(where, left)


def seconds_left(
    running: Sequence[int],
    totals: Sequence[float],
    waiting: int,
    slots: int,
) -> Optional[float]:
    """About how long all jobs still take.

    Args:
        running (Sequence[int]): Seconds left of each that is running.
        totals (Sequence[float]): Seconds that a job takes in all, of those
            of which it is known.
        waiting (int): How many have not begun.
        slots (int): How many run side by side.
    """
    if waiting and not totals:
        return None
    mean = sum(totals) / len(totals) if totals else 0
    work = sum(running) + waiting * mean
    return max([work / slots, *running])


def format_time(seconds: float) -> str:
    """Hours and minutes, or minutes and seconds."""
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f'{minutes} min {rest:02d} s'
    return f'{minutes // 60} h {minutes % 60:02d} min'


def last_lines(log: Path, count: int = 15) -> List[str]:
    """The end of a log."""
    return log.read_text(errors='replace').splitlines()[-count:]
