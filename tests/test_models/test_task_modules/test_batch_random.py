"""Sampling of a batch against RandomSampler, image by image."""

import pytest
import torch
from mmdet.models.task_modules.assigners import AssignResult
from mmdet.models.task_modules.samplers import RandomSampler
from mmengine.structures import InstanceData

from mmdet_klrpn.models.task_modules import sample_batch

SAMPLERS = {
    'usual': dict(num=8, pos_fraction=0.5),
    'few negatives': dict(num=8, pos_fraction=0.5, neg_pos_ub=1),
    'everything': dict(num=10_000, pos_fraction=0.5),
    'negatives only': dict(num=5, pos_fraction=0.0),
}


@pytest.mark.parametrize('name', SAMPLERS)
@pytest.mark.parametrize('images', [1, 3])
def test_samples_are_those_of_the_sampler(name, images):
    sampler = RandomSampler(**SAMPLERS[name], add_gt_as_proposals=False)
    gt_inds = torch.randint(-1, 3, (images, 50))
    gt_inds[0] = torch.tensor([0, -1] * 25)  # an image without a positive
    torch.manual_seed(1)
    pos, neg, avg_factor = sample_batch(sampler, gt_inds)

    torch.manual_seed(1)
    priors = torch.zeros((50, 4))
    expected, factor = ([], []), 0
    for i, row in enumerate(gt_inds):
        result = sampler.sample(
            AssignResult(3, row, torch.zeros(50), torch.zeros(50)),
            InstanceData(priors=priors),
            InstanceData(bboxes=torch.zeros((3, 4)), labels=torch.zeros(3)),
        )
        expected[0].append(result.pos_inds.flatten() + 50 * i)
        expected[1].append(result.neg_inds.flatten() + 50 * i)
        factor += result.avg_factor
    assert torch.equal(pos, torch.cat(expected[0]))
    assert torch.equal(neg, torch.cat(expected[1]))
    assert avg_factor == factor


def test_nothing_to_sample():
    sampler = RandomSampler(4, 0.5, add_gt_as_proposals=False)
    pos, neg, avg_factor = sample_batch(sampler, torch.full((2, 9), -1))
    assert len(pos) == len(neg) == 0
    assert avg_factor == 4
