"""Sample a batch of anchors on the device."""

from typing import Tuple

import torch
from mmdet.models.task_modules.samplers import RandomSampler
from torch import Tensor
from torch.nn.functional import pad

from ..assigners import ragged_arange

_RANDOM = 1 << 31


def sample_stratified(
    sampler: RandomSampler, gt_inds: Tensor
) -> Tuple[Tensor, Tensor, int]:
    """Sample as many anchors of every image as the sampler.

    As with the sampler, all positives of an image are equally likely, and so
    are all negatives. But samples are spread evenly: the candidates form a
    circle, turned at random and cut into as many arcs as samples, each of
    which gives one. This needs no shuffling, and waits for the device once for
    any number of images.

    Args:
        sampler (RandomSampler): Gives the numbers to sample.
        gt_inds (Tensor): (N, R), as from :func:`assign_on_grid`.

    Returns:
        tuple: Positives and negatives, each (n, ) indices among N * R, image
        by image, and the divisor of losses.
    """
    pools = torch.stack([gt_inds > 0, gt_inds == 0])
    ends = pools.flatten().cumsum(0, dtype=torch.int32)
    # Positives of images, then negatives, (2 * N, ).
    bounds = pad(ends.view(-1, gt_inds.shape[1])[:, -1].long(), (1, 0))
    first, numbers = bounds[:-1], bounds.diff()
    num_pos, num_neg = numbers.chunk(2)
    num_pos = num_pos.clamp(max=int(sampler.num * sampler.pos_fraction))
    limit = sampler.num - num_pos
    if sampler.neg_pos_ub >= 0:
        ratio = sampler.neg_pos_ub * num_pos.clamp(min=1)
        limit = torch.min(limit, ratio.long())
    wanted = torch.cat([num_pos, torch.min(num_neg, limit)])
    counts = wanted.tolist()

    which, nth = ragged_arange(wanted, sum(counts))
    first, number, count, turn = torch.stack(
        [first, numbers, wanted, torch.randint_like(numbers, _RANDOM)]
    ).index_select(1, which)
    start = nth * number
    start, end = start // count, (start + number) // count
    rank = start + torch.randint_like(start, _RANDOM) % (end - start)
    rank = first + (rank + turn) % number
    index = torch.searchsorted(ends, rank.int(), right=True)
    pos, neg = index.tensor_split([sum(counts[: len(gt_inds)])])
    avg_factor = sum(max(1, number) for number in counts)
    return pos, neg - gt_inds.numel(), avg_factor
