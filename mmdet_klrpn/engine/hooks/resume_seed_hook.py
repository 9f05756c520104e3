"""Let a resumed training draw the random numbers of an unbroken one."""

import random
from functools import partial
from typing import Callable, Iterator, Optional

import numpy as np
import torch
from mmdet.registry import HOOKS
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.runner import Runner, set_random_seed
from torch.utils.data import DataLoader


@HOOKS.register_module()
class ResumeSeedHook(Hook):
    """Make random numbers a function of the seed, the progress and the rank.

    mmengine's checkpoints hold no random state, so after ``--resume`` anchors
    are sampled and images augmented with other random numbers. With this hook
    every epoch, or every iteration of an IterBasedTrainLoop, starts from its
    own random state. If operations are deterministic and ``randomness.seed``
    is set, a training that was killed and resumed ends with the weights of an
    unbroken one, bit for bit.

    Data workers are also seeded anew each epoch; mmengine gives them the same
    numbers in every epoch. Persistent workers are restarted for this, as mmdet
    does to switch pipelines.
    """

    # What other hooks drew before an epoch is then forgotten.
    priority = 'LOWEST'

    def before_train(self, runner: Runner) -> None:
        """Seed before each batch if the loop has no epochs."""
        loop = runner.train_loop
        if hasattr(loop, 'dataloader_iterator'):
            loop.dataloader_iterator = _SeededIterator(
                loop.dataloader_iterator, runner.seed
            )

    def before_train_epoch(self, runner: Runner) -> None:
        """Seed this process and its data loader if there are epochs."""
        loop = runner.train_loop
        if hasattr(loop, 'dataloader_iterator'):
            return
        set_random_seed(_mix(runner.seed, runner.epoch, get_rank()))
        if loop.dataloader.num_workers:
            _seed_workers(loop.dataloader, runner.seed, runner.epoch)


class _SeededIterator:
    """Batches, each fetched and trained on from its own random state.

    A resumed loop first fetches the batches that it has trained on, which
    restores the state of workers.
    """

    def __init__(self, iterator: Iterator, seed: int) -> None:
        self._iterator = iterator
        self._seed = seed
        self._count = 0

    def __iter__(self) -> '_SeededIterator':
        return self

    def __next__(self) -> dict:
        set_random_seed(_mix(self._seed, self._count, get_rank()))
        self._count += 1
        return next(self._iterator)

    def skip_iter(self, num_iters: int) -> None:
        """Skip batches, for a resumed loop of onedl-mmengine."""
        for _ in range(num_iters):
            next(self)


def _mix(*numbers: int) -> int:
    """Mix non-negative numbers to a 32-bit seed, as NumPy takes.

    A sum would repeat seeds of one run in the next.
    """
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def _seed_workers(dataloader: DataLoader, seed: int, epoch: int) -> None:
    """Let the workers of the next epoch start from their own seeds."""
    given = dataloader.worker_init_fn
    if isinstance(given, partial) and given.func is _init_worker:
        given = given.keywords['given']
    dataloader.worker_init_fn = partial(
        _init_worker, given=given, seed=(seed, epoch, get_rank())
    )
    if dataloader.persistent_workers:
        # mmdet's own way (PipelineSwitchHook): torch offers no other.
        dataloader._iterator = None


def _init_worker(
    worker: int, given: Optional[Callable[[int], None]], seed: tuple
) -> None:
    """Seed a worker, after the data loader's own initialisation."""
    if given is not None:
        given(worker)
    seed = _mix(*seed, worker)
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
