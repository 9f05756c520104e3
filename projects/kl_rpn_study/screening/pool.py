"""Calls in processes of their own, side by side."""

import logging
import multiprocessing
import os
import signal
import sys
import traceback
import warnings
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Callable, Dict, List

import torch
from mmengine.logging import MMLogger
from rich.progress import track

from mmdet_klrpn.benchmark.tasks import end_with_parent


def work(calls: Dict[str, Callable], jobs: int, title: str) -> List[str]:
    """Do all calls, and return the names of those that failed.

    Raises:
        RuntimeError: If a process was killed, as for lack of memory.
    """
    failed = []
    # A process that is forked after torch has started threads may hang.
    context = multiprocessing.get_context('spawn')
    with ProcessPoolExecutor(jobs, context, _begin) as pool:
        names = {pool.submit(call): name for name, call in calls.items()}
        try:
            for future in track(as_completed(names), title, len(names)):
                try:
                    future.result()
                except BrokenProcessPool as error:
                    raise RuntimeError(
                        f'{error} Is there enough memory for --jobs {jobs}?'
                    ) from None
                except Exception:
                    traceback.print_exc()
                    failed.append(names[future])
        finally:
            for future in names:
                future.cancel()
    return failed


def quiet() -> None:
    """Silence warnings, and what mmengine logs of every head."""
    warnings.simplefilter('ignore')
    MMLogger.get_current_instance().setLevel(logging.ERROR)


def _begin() -> None:
    end_with_parent(signal.SIGKILL)
    quiet()
    torch.set_num_threads(1)
    sys.stdout = open(os.devnull, 'w')  # noqa: SIM115, pycocotools prints
