"""Sampling on the device: numbers of RandomSampler, and equal chances."""

import pytest
import torch
from mmdet.models.task_modules.samplers import RandomSampler

from mmdet_klrpn.models.task_modules import sample_batch, sample_stratified

SAMPLERS = {
    'usual': dict(num=8, pos_fraction=0.5),
    'few negatives': dict(num=8, pos_fraction=0.5, neg_pos_ub=1),
    'a share': dict(num=20, pos_fraction=0.3, neg_pos_ub=1.5),
    'everything': dict(num=10_000, pos_fraction=0.5),
    'negatives only': dict(num=5, pos_fraction=0.0),
}


@pytest.mark.parametrize('name', SAMPLERS)
@pytest.mark.parametrize('images', [1, 3])
@pytest.mark.parametrize('seed', range(5))
def test_numbers_are_those_of_the_sampler(name, images, seed):
    sampler = RandomSampler(**SAMPLERS[name], add_gt_as_proposals=False)
    generator = torch.Generator().manual_seed(seed)
    gt_inds = torch.randint(-1, 3, (images, 50), generator=generator)
    gt_inds[0] = torch.tensor([0, -1] * 25)  # an image without a positive
    expected = sample_batch(sampler, gt_inds)
    actual = sample_stratified(sampler, gt_inds)
    for index, wanted in zip(actual[:2], expected[:2]):
        assert len(index.unique()) == len(index)
        assert torch.equal(
            (index // 50).bincount(minlength=images),
            (wanted // 50).bincount(minlength=images),
        )
    assert (gt_inds.flatten()[actual[0]] > 0).all()
    assert (gt_inds.flatten()[actual[1]] == 0).all()
    assert actual[2] == expected[2]


def test_all_have_the_same_chance():
    """Which 7 of 10 positives, and 13 of 37 negatives."""
    sampler = RandomSampler(20, 0.35, add_gt_as_proposals=False)
    gt_inds = torch.tensor([[0] * 20 + [1] * 10 + [0] * 17 + [-1] * 3])
    torch.manual_seed(0)
    times, counts = 4000, torch.zeros(50)
    for _ in range(times):
        for index in sample_stratified(sampler, gt_inds)[:2]:
            counts[index] += 1
    chance = torch.tensor([13 / 37, 7 / 10, 0.0])[gt_inds[0]]
    # Five standard deviations of a binomial.
    spread = 5 * (times * chance * (1 - chance)).sqrt()
    assert ((counts - times * chance).abs() <= spread).all()


def test_nothing_to_sample():
    sampler = RandomSampler(4, 0.5, add_gt_as_proposals=False)
    pos, neg, avg_factor = sample_stratified(sampler, torch.full((2, 9), -1))
    assert len(pos) == len(neg) == 0
    assert avg_factor == 4
