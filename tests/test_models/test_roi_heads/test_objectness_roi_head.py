"""Detections by both stages' scores, against the product itself."""

import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures.bbox import bbox2roi
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from test_rfcn_roi_head import config, features, proposals, sample

from mmdet_klrpn.models.roi_heads import weigh_by_objectness


def build(kind, bbox_head=None, **options):
    """An R-FCN's head, or one of Faster R-CNN, with the same weights."""
    torch.manual_seed(0)
    given = config(**options)
    if kind != 'RFCNRoIHead':
        given.type = kind
        given.bbox_roi_extractor = dict(
            type='SingleRoIExtractor',
            roi_layer=dict(type='RoIAlign', output_size=3),
            out_channels=8,
            featmap_strides=[16],
        )
        given.bbox_head = dict(
            type='Shared2FCBBoxHead',
            in_channels=8,
            fc_out_channels=16,
            roi_feat_size=3,
            num_classes=2,
            **(bbox_head or {}),
        )
    head = MODELS.build(given)
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return head


@torch.no_grad()
def predict(head, given, cfg=None):
    metas = [sample().metainfo for _ in given]
    return head.predict_bbox(features(len(given)), metas, given, cfg)


@pytest.mark.parametrize('power', [0.0, 0.5, 1.0, 3.0])
def test_logits_are_of_the_product(power):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn((50, 4), generator=generator) * 5
    objectness = torch.rand(50, generator=generator)
    weighed = weigh_by_objectness(logits, objectness, power).softmax(dim=1)
    expected = logits.softmax(dim=1)[:, :-1] * objectness[:, None] ** power
    torch.testing.assert_close(weighed[:, :-1], expected)
    torch.testing.assert_close(weighed.sum(dim=1), torch.ones(50))


def test_extremes_stay_finite():
    logits = torch.tensor([[80.0, -80.0], [-80.0, 80.0], [3.0, 1.0]])
    for objectness in (torch.zeros(3), torch.ones(3)):
        for dtype in (torch.float16, torch.float32):
            weighed = weigh_by_objectness(logits.to(dtype), objectness, 1.0)
            assert torch.isfinite(weighed).all()
            assert weighed.dtype == torch.float32
    assert weighed[:, 0].softmax(dim=0).argmax() == 0


@pytest.mark.parametrize('kind', ['RFCNRoIHead', 'ObjectnessRoIHead'])
def test_scores_of_all_proposals_are_multiplied(kind):
    given = [proposals(5), proposals(7)[2:]]
    plain = predict(build(kind, objectness_power=0.0), given)
    weighed = predict(build(kind, objectness_power=2.0), given)
    for before, after, own in zip(plain, weighed, given):
        assert torch.equal(after.bboxes, before.bboxes)
        expected = before.scores[:, :-1] * own.scores[:, None] ** 2
        torch.testing.assert_close(after.scores[:, :-1], expected)


def test_detections_are_ranked_by_the_product():
    given = proposals(20)
    test_cfg = ConfigDict(
        score_thr=0.2, nms=dict(type='nms', iou_threshold=0.5), max_per_img=9
    )
    (raw,) = predict(build('ObjectnessRoIHead', objectness_power=0.0), [given])
    (found,) = predict(build('ObjectnessRoIHead'), [given], test_cfg)
    product = raw.scores[:, :-1] * given.scores[:, None]
    assert 0 < len(found) <= 9
    assert (found.scores > 0.2).all()
    assert found.scores[0] == pytest.approx(product.max().item(), rel=1e-5)
    for score in found.scores:
        assert (product - score).abs().min() < 1e-5


def test_nothing_else_changes():
    given = proposals(6)
    standard = build('StandardRoIHead')
    unsure = InstanceData(bboxes=given.bboxes)
    head = build('ObjectnessRoIHead')
    for a, b in zip(predict(standard, [given]), predict(head, [unsure])):
        # Proposals without scores count as sure.
        torch.testing.assert_close(a.scores, b.scores)
    rois = bbox2roi([given.bboxes])
    losses = [
        x._bbox_forward(features(), rois)['cls_score']
        for x in (standard, head)
    ]
    assert torch.equal(*losses)  # what training sees
    assert predict(head, [given[:0]])[0].bboxes.shape[0] == 0
    keys = [sorted(x.state_dict()) for x in (standard, head)]
    assert keys[0] == keys[1]


def test_refuses_what_it_cannot_mean():
    with pytest.raises(ValueError, match='must be >= 0, but got -1'):
        build('ObjectnessRoIHead', objectness_power=-1)
    seesaw = dict(loss_cls=dict(type='SeesawLoss', num_classes=2))
    with pytest.raises(ValueError, match='must be 0 with SeesawLoss'):
        build('ObjectnessRoIHead', bbox_head=seesaw)
