"""What the RoI head is given to learn from."""

import numpy as np
import pytest
import torch
from conftest import KL_RPN_CONFIG, STUDY
from mmdet.models.task_modules import MaxIoUAssigner, RandomSampler
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData

from mmdet_klrpn.benchmark.links.groups import Objects, make_groups
from mmdet_klrpn.benchmark.links.sampling import (
    Taught,
    count,
    sample_rois,
    sampling_links,
    train_time_proposals,
)

RFCN_CONFIG = STUDY / 'rfcn_mobilenetv2_24e_trees.py'
OBJECTS = torch.tensor([[0, 0, 10, 10], [20, 20, 40, 40], [60, 60, 70, 70.0]])


class Head:
    """A RoI head, as far as assigning and sampling know it."""

    def __init__(self, num=100, add=True):
        self.bbox_assigner = MaxIoUAssigner(0.5, 0.5, 0.5, ignore_iof_thr=0.5)
        self.bbox_sampler = RandomSampler(num, 0.5, add_gt_as_proposals=add)


def sample(head):
    proposals = [
        [0, 0, 10, 8],  # IoU 0.8 with the first
        [0, 0, 10, 6],  # 0.6
        [20, 20, 40, 35],  # 0.75 with the second
        [0, 0, 4, 10],  # 0.4 with the first: negative
        [80, 80, 90, 90],  # in the crowd: neither
    ]
    return sample_rois(
        head,
        [],
        InstanceData(priors=torch.tensor(proposals, dtype=torch.float)),
        InstanceData(bboxes=OBJECTS, labels=torch.tensor([0, 1, 1])),
        InstanceData(bboxes=torch.tensor([[75.0, 75, 99, 99]])),
    )


def test_positives_of_each_object():
    found = count(*sample(Head()))
    assert found.boxes.tolist() == [1, 1, 1]
    assert found.proposals.tolist() == [2, 1, 0]
    assert found.ious == pytest.approx([1.4, 0.75, 0])
    assert (found.assigned, found.negatives) == (3, 1)

    found = count(*sample(Head(add=False)))
    assert found.boxes.tolist() == [0, 0, 0]
    assert found.proposals.tolist() == [2, 1, 0]

    # Two of the six positives are drawn, but three proposals are positive.
    found = count(*sample(Head(num=4)))
    assert found.boxes.sum() + found.proposals.sum() == 2
    assert found.assigned == 3


def test_shares():
    sizes = [10, 20, 10, 50]
    objects = Objects(
        np.array([[0, 0, size, size] for size in sizes], dtype=float),
        np.array([0, 1, 1, 0]),
    )
    groups = make_groups(objects, ('a', 'b'), np.array([15, 30, 40]))
    first = count(*sample(Head()))
    second = Taught(np.array([1.0]), np.zeros(1), np.zeros(1), 0, 7)
    links = sampling_links([first, second], groups)
    assert links['samples'] == {
        'of an image': {
            'assigned proposals': 1.5,
            'positives': 3.5,
            'which are proposals': 1.5,
            'which are added objects': 2,
            'negatives': 4,
        }
    }
    shares = links['shares']
    assert [shares[row]['a'] for row in shares] == pytest.approx(
        [2 / 4, 4 / 7, 2 / 3]
    )
    assert [list(row.values())[2:] for row in shares.values()] == [
        pytest.approx([2 / 4, 1 / 4, None, 1 / 4]),
        pytest.approx([4 / 7, 2 / 7, None, 1 / 7]),
        pytest.approx([2 / 3, 1 / 3, None, 0]),
    ]
    ious = links['overlap']['positive proposals']
    assert ious['all objects'] == pytest.approx(2.15 / 3)
    assert ious['mean of classes'] == pytest.approx((0.7 + 0.75) / 2)
    assert list(ious.values())[-1] is None  # no proposal, no IoU
    untaught = links['untaught']['without a positive proposal']
    assert [untaught[name] for name in ('all objects', 'a', 'b')] == [0.5] * 3
    assert list(untaught.values())[-4:] == [0.5, 0, None, 1]


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    boxes = torch.rand(12, 4, generator=generator) * 60
    boxes[:, 2:] += boxes[:, :2] + 20
    sample = DetDataSample(
        metainfo=dict(
            img_id=1,
            img_shape=(128, 128),
            ori_shape=(128, 128),
            pad_shape=(128, 128),
            batch_input_shape=(128, 128),
            scale_factor=(1.0, 1.0),
        ),
        gt_instances=InstanceData(
            bboxes=boxes, labels=torch.zeros(12, dtype=torch.long)
        ),
        ignored_instances=InstanceData(
            bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long)
        ),
    )
    return torch.randn(1, 3, 128, 128, generator=generator), [sample]


@pytest.mark.parametrize('ohem', [False, True])
@pytest.mark.parametrize('config', [KL_RPN_CONFIG, RFCN_CONFIG])
def test_samples_are_those_of_a_training_step(
    config, ohem, batch, monkeypatch
):
    config = Config.fromfile(config)
    init_default_scope(config.default_scope)
    config.model.backbone.init_cfg = None
    if ohem:
        config.model.train_cfg.rcnn.sampler.type = 'OHEMSampler'
    torch.manual_seed(0)
    model = MODELS.build(config.model).eval()
    inputs, samples = batch
    head, drawn = model.roi_head, []
    own = head.bbox_sampler.sample

    def spy(*args, **kwargs):
        torch.manual_seed(1)
        drawn.append(own(*args, **kwargs))
        return drawn[-1]

    monkeypatch.setattr(head.bbox_sampler, 'sample', spy)
    with torch.no_grad():
        model.loss(inputs, samples)
        features = model.extract_feat(inputs)
        proposals = train_time_proposals(model, features, samples)
        assert len(proposals) == model.train_cfg.rpn_proposal.max_per_img
        positive, ours = sample_rois(
            head,
            features,
            proposals,
            samples[0].gt_instances,
            samples[0].ignored_instances,
        )
    expected, _ = drawn
    assert torch.equal(ours.priors, expected.priors)
    assert torch.equal(
        ours.pos_assigned_gt_inds, expected.pos_assigned_gt_inds
    )
    assert positive > 0
    assert len(ours.neg_inds) > 0
