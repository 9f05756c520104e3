"""RandomSampler for a whole batch."""

from typing import Tuple

import torch
from mmdet.models.task_modules.samplers import RandomSampler
from torch import Tensor


def sample_batch(
    sampler: RandomSampler, gt_inds: Tensor
) -> Tuple[Tensor, Tensor, int]:
    """Sample the same anchors of every image as the sampler.

    It takes three copies to the host for any number of images; the sampler
    takes several per image.

    Args:
        sampler (RandomSampler): Gives the numbers to sample; torch draws.
        gt_inds (Tensor): (N, R), as from :func:`assign_on_grid`.

    Returns:
        tuple: Positives and negatives, each (n, ) indices among N * R in
        ascending order, and the divisor of losses.
    """
    num_images, num_anchors = gt_inds.shape
    gt_inds = gt_inds.flatten()
    pools = [(gt_inds > 0).nonzero()[:, 0], (gt_inds == 0).nonzero()[:, 0]]
    bounds = torch.arange(num_images + 1, device=gt_inds.device) * num_anchors
    bounds = torch.stack([torch.searchsorted(pool, bounds) for pool in pools])
    picks, avg_factor = ([], []), 0
    for pos, neg in zip(*(_ranges(row) for row in bounds.tolist())):
        chosen = _choose(pos, int(sampler.num * sampler.pos_fraction))
        picks[0].append(chosen)
        limit = sampler.num - len(chosen)
        if sampler.neg_pos_ub >= 0:
            limit = min(limit, int(sampler.neg_pos_ub * max(1, len(chosen))))
        picks[1].append(_choose(neg, limit))
        avg_factor += sum(max(1, len(pick[-1])) for pick in picks)
    pos, neg = (
        pool[torch.cat(pick).to(pool.device)]
        for pool, pick in zip(pools, picks)
    )
    return pos, neg, avg_factor


def _ranges(bounds: list) -> list:
    """Convert consecutive bounds to ranges."""
    return [range(*pair) for pair in zip(bounds, bounds[1:])]


def _choose(pool: range, limit: int) -> Tensor:
    """Choose at most so many of the pool, ascending, on the CPU."""
    if len(pool) <= limit:
        return torch.arange(pool.start, pool.stop)
    return pool.start + torch.randperm(len(pool))[:limit].sort()[0]
