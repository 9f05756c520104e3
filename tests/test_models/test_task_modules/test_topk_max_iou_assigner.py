"""The best priors of each object against loops over the matrix of IoUs."""

import pytest
import torch
from mmdet.models.task_modules.assigners import MaxIoUAssigner
from mmdet.registry import TASK_UTILS

from mmdet_klrpn.models import TopKMaxIoUAssigner

OPTIONS = dict(pos_iou_thr=0.7, neg_iou_thr=0.3, min_pos_iou=0.3)


def naive(overlaps, parent, topk, least):
    """Positives that the parent lacks, prior by prior."""
    expected = parent.clone()
    for prior, column in enumerate(overlaps.T.tolist()):
        best = max(column)
        owner = column.index(best)
        better = sum(x > best for x in overlaps[owner].tolist())
        if parent[prior] <= 0 and best >= least and better < topk:
            expected[prior] = owner + 1
    return expected


@pytest.mark.parametrize('topk', [1, 3, 9, 100])
@pytest.mark.parametrize('seed', range(5))
def test_equals_loops(topk, seed):
    generator = torch.Generator().manual_seed(seed)
    # Tenths, so that priors tie.
    overlaps = torch.rand((6, 40), generator=generator).mul(10).round() / 10
    overlaps[0] *= 0.2  # one that no threshold reaches
    labels = torch.arange(6) + 10
    parent = MaxIoUAssigner(**OPTIONS).assign_wrt_overlaps(overlaps, labels)
    result = TopKMaxIoUAssigner(
        **OPTIONS, topk=topk, topk_min_iou=0.15
    ).assign_wrt_overlaps(overlaps, labels)
    expected = naive(overlaps, parent.gt_inds, topk, 0.15)
    assert torch.equal(result.gt_inds, expected)
    positive = expected > 0
    assert torch.equal(result.labels[positive], expected[positive] + 9)
    assert (result.labels[~positive] == -1).all()


def test_a_small_object_has_as_many_as_asked_for():
    overlaps = torch.tensor([[0.05, 0.12, 0.2, 0.25, 0.0]])
    labels = torch.zeros(1, dtype=torch.long)
    for topk, expected in (
        (2, [0, 0, 1, 1, 0]),
        (3, [0, 1, 1, 1, 0]),
        (9, [0, 1, 1, 1, 0]),  # of the others the IoU is below 0.1
    ):
        assigner = TopKMaxIoUAssigner(**OPTIONS, topk=topk)
        result = assigner.assign_wrt_overlaps(overlaps, labels)
        assert result.gt_inds.tolist() == expected


@pytest.mark.parametrize('shape', [(0, 5), (3, 0)])
def test_nothing_to_assign(shape):
    labels = torch.zeros(shape[0], dtype=torch.long)
    assigner = TopKMaxIoUAssigner(**OPTIONS, topk=9)
    result = assigner.assign_wrt_overlaps(torch.zeros(shape), labels)
    assert result.gt_inds.tolist() == [0] * shape[1]


@pytest.mark.parametrize(
    ('options', 'name'),
    [
        (dict(topk=0), 'topk'),
        (dict(topk=2.5), 'topk'),
        (dict(topk=1, topk_min_iou=0.0), 'topk_min_iou'),
        (dict(topk=1, topk_min_iou=1.5), 'topk_min_iou'),
    ],
)
def test_refuses_what_it_cannot_mean(options, name):
    config = dict(type='TopKMaxIoUAssigner', **OPTIONS, **options)
    with pytest.raises(ValueError, match=f'{name} must be'):
        TASK_UTILS.build(config)
