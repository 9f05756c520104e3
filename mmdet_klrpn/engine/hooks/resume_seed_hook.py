"""Random numbers that a resumed training draws as an unbroken one does."""

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

    A checkpoint of mmengine holds no random state, so that after ``--resume``
    the samplers of anchors and the augmentations of images draw other numbers
    than they would have. With this hook every epoch, or every iteration of an
    IterBasedTrainLoop, starts from a state of its own. Where the operations
    are deterministic and ``randomness.seed`` is set, a training that was
    killed and resumed then ends with the weights of an unbroken one, bit for
    bit.

    Workers that load data are seeded anew each epoch as well, where mmengine
    gives them the same numbers in every epoch. Persistent ones are restarted
    for it, as mmdet does to switch pipelines.
    """

    # What other hooks drew before an epoch is then forgotten.
    priority = 'LOWEST'

    def before_train(self, runner: Runner) -> None:
        """Seed before each batch, where the loop has no epochs."""
        loop = runner.train_loop
        if hasattr(loop, 'dataloader_iterator'):
            loop.dataloader_iterator = _SeededIterator(
                loop.dataloader_iterator, runner.seed
            )

    def before_train_epoch(self, runner: Runner) -> None:
        """Seed this process and its data loader, where there are epochs."""
        loop = runner.train_loop
        if hasattr(loop, 'dataloader_iterator'):
            return
        set_random_seed(_mix(runner.seed, runner.epoch, get_rank()))
        if loop.dataloader.num_workers:
            _seed_workers(loop.dataloader, runner.seed, runner.epoch)


class _SeededIterator:
    """Batches, each fetched and trained on from a random state of its own.

    A resumed loop fetches those it has trained on before it goes on, so that
    the state of workers, which this does not touch, is what it was.
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
        """Pass over batches, as a resumed loop of onedl-mmengine asks for."""
        for _ in range(num_iters):
            next(self)


def _mix(*numbers: int) -> int:
    """A 32-bit seed, as NumPy takes, of non-negative numbers.

    A sum would repeat the seeds of one run in the next.
    """
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def _seed_workers(dataloader: DataLoader, seed: int, epoch: int) -> None:
    """Have the workers of the next epoch start from their own seeds."""
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
    """Seed a worker, after what its data loader was given for it."""
    if given is not None:
        given(worker)
    seed = _mix(*seed, worker)
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
