"""Tasks in processes of their own, side by side."""

import contextlib
import io
import logging
import multiprocessing
import os
import sys
import threading
import time
import traceback
import warnings
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence

import torch
from mmengine.logging import MMLogger

from ..progress import format_time, seconds_left

SECONDS_BETWEEN_LINES = 30


class Task(NamedTuple):
    """Something to do.

    Attributes:
        name (str): What messages call it.
        call (Callable): Does it; must go through pickle.
        needs (Path, optional): A file without which it cannot be done.
    """

    name: str
    call: Callable[[], None]
    needs: Optional[Path] = None


def work(tasks: Sequence[Task], processes: int) -> List[Task]:
    """Do tasks, print how far they are, and return those that failed.

    One that fails does not stop the others.

    Args:
        tasks (Sequence[Task]): What to do, in this order.
        processes (int): How many side by side, each of one thread.

    Raises:
        RuntimeError: If a process was killed.
    """
    started, failed = time.time(), []
    # Forked after torch has started threads, a process may hang.
    context = multiprocessing.get_context('spawn')
    pool = ProcessPoolExecutor(processes, context, _begin)
    futures = {pool.submit(_do, task.call): task for task in tasks}
    waiting = set(futures)
    try:
        while waiting:
            done, waiting = wait(waiting, SECONDS_BETWEEN_LINES)
            failed += [futures[f] for f in done if _has_failed(f, futures)]
            count = len(tasks) - len(waiting)
            print(_line(count, len(tasks), time.time() - started), flush=True)
    except BrokenProcessPool:
        raise RuntimeError(
            'a process was killed, as for lack of memory: try fewer --jobs; '
            'what is done is kept'
        ) from None
    finally:
        for future in waiting:
            future.cancel()
        pool.shutdown()
    return failed


def _has_failed(future: Future, futures: Dict[Future, Task]) -> bool:
    error = future.exception()
    if isinstance(error, BrokenProcessPool):
        raise error
    if error is None:
        return False
    print(f'{futures[future].name}: FAILED', file=sys.stderr)
    trace = traceback.format_exception(type(error), error, None)
    print(''.join(trace), file=sys.stderr, flush=True)
    return True


def _line(count: int, total: int, seconds: float) -> str:
    """How far all tasks are."""
    line = f'{count} of {total} done'
    if not count:
        return line
    if count == total:
        return f'{line} in {format_time(seconds)}'
    rest = seconds_left([], [seconds / count], total - count, 1)
    return f'{line}, about {format_time(rest)} left'


def _begin() -> None:
    """Prepare a process."""
    torch.set_num_threads(1)
    warnings.simplefilter('ignore')
    MMLogger.get_current_instance().setLevel(logging.ERROR)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Do not outlive a parent that was killed."""
    multiprocessing.parent_process().join()
    os._exit(1)


def _do(call: Callable[[], None]) -> None:
    # pycocotools prints what it does.
    with contextlib.redirect_stdout(io.StringIO()):
        call()
