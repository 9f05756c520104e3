"""Boxes that vote, and RoIs whose scores or offsets are not finite."""

import math

import pytest
import torch
from mmcv.ops import bbox_overlaps
from mmdet.models.roi_heads.bbox_heads import Shared2FCBBoxHead
from mmengine.config import ConfigDict

from mmdet_klrpn.models import (
    KLBBoxHead,
    RFCNBBoxHead,
    VGGBBoxHead,
    VotingBBoxHead,
)

TEST_CFG = ConfigDict(
    score_thr=0.0, nms=dict(type='nms', iou_threshold=0.5), max_per_img=100
)
META = dict(img_shape=(64, 96), scale_factor=(2.0, 0.5))


def predict(head, rois, *predictions, **test_cfg):
    (result,) = head.predict_by_feat(
        (rois,),
        *([x] for x in predictions),
        batch_img_metas=[META],
        rcnn_test_cfg=ConfigDict(TEST_CFG, **test_cfg),
        rescale=True,
    )
    return result


@pytest.mark.parametrize('cls', [RFCNBBoxHead, VGGBBoxHead])
@pytest.mark.parametrize('agnostic', [True, False])
@pytest.mark.parametrize('value', [float('nan'), float('inf')])
@pytest.mark.parametrize('part', [0, 1], ids=['score', 'offset'])
def test_rois_not_finite_are_dropped_and_no_other(cls, agnostic, value, part):
    torch.manual_seed(0)
    head = cls(in_channels=4, num_classes=2, reg_class_agnostic=agnostic)
    corners = torch.rand(6, 2) * 40
    rois = torch.cat([torch.zeros(6, 1), corners, corners + 20], dim=1)
    outputs = [torch.randn(6, 3), torch.randn(6, 4 if agnostic else 8)]
    spoiled = [x.clone() for x in outputs]
    spoiled[part][2, 1] = value
    given = predict(head, rois, *spoiled)
    others = torch.tensor([0, 1, 3, 4, 5])
    expected = predict(head, rois[others], *(x[others] for x in outputs))
    assert len(expected) > 0
    for field, values in given.items():
        assert torch.equal(values, expected[field]), field


def crowd(head):
    """RoIs that overlap, and outputs of the head for them."""
    torch.manual_seed(3)
    corners = 20 + torch.rand(12, 2) * 6
    rois = torch.cat([torch.zeros(12, 1), corners, corners + 20], dim=1)
    size = (1 if head.reg_class_agnostic else 2) * (
        8 if isinstance(head, KLBBoxHead) else 4
    )
    return rois, torch.randn(12, 3), torch.randn(12, size)


@pytest.mark.parametrize('agnostic', [True, False])
@pytest.mark.parametrize('cls', [VotingBBoxHead, KLBBoxHead])
@pytest.mark.parametrize('sigma', [0.02, 0.5])
def test_votes_are_those_of_a_loop(cls, agnostic, sigma):
    """Over all boxes of a class that pass the score's threshold."""
    head = cls(in_channels=4, num_classes=2, reg_class_agnostic=agnostic)
    outputs = crowd(head)
    with_stds = cls is KLBBoxHead
    everything = predict(
        head, *outputs, nms=dict(type='nms', iou_threshold=1.0), score_thr=0.3
    )
    kept = predict(head, *outputs, score_thr=0.3)
    voted = predict(
        head, *outputs, score_thr=0.3, box_voting=dict(sigma=sigma)
    )
    assert 2 < len(kept) < len(everything)
    for field in kept.all_keys():
        if field != 'bboxes':
            assert torch.equal(kept[field], voted[field]), field
    for n, box in enumerate(kept.bboxes):
        for edge in range(4):
            total = weight = 0.0
            for i, other in enumerate(everything.bboxes):
                iou = bbox_overlaps(box[None], other[None]).item()
                if iou == 0 or everything.labels[i] != kept.labels[n]:
                    continue
                vote = math.exp(-((1 - iou) ** 2) / sigma)
                if with_stds:
                    vote /= everything.bbox_stds[i, edge].item() ** 2
                total += vote * other[edge].item()
                weight += vote
            value = voted.bboxes[n, edge].item()
            assert value == pytest.approx(total / weight, rel=1e-4)
    assert (kept.bboxes != voted.bboxes).any()


def test_an_empty_dict_votes_with_the_papers_sigma():
    head = VotingBBoxHead(in_channels=4, num_classes=2)
    given, empty = (
        predict(head, *crowd(head), box_voting=box_voting)
        for box_voting in (dict(sigma=0.02), {})
    )
    assert torch.equal(given.bboxes, empty.bboxes)
    assert not torch.equal(given.bboxes, predict(head, *crowd(head)).bboxes)


@pytest.mark.parametrize('cls', [RFCNBBoxHead, VGGBBoxHead, VotingBBoxHead])
def test_a_lone_box_stays(cls):
    head = cls(in_channels=4, num_classes=2)
    rois, scores, offsets = crowd(head)
    rois, scores, offsets = rois[:1], 5 * scores[:1], offsets[:1]
    kept = predict(head, rois, scores, offsets, score_thr=0.05)
    voted = predict(
        head, rois, scores, offsets, score_thr=0.05, box_voting=dict(sigma=0.1)
    )
    torch.testing.assert_close(kept.bboxes, voted.bboxes)


def test_it_is_mmdets_head_unless_boxes_vote():
    plain = Shared2FCBBoxHead(in_channels=4, num_classes=2)
    ours = VotingBBoxHead(in_channels=4, num_classes=2)
    ours.load_state_dict(plain.state_dict())
    torch.manual_seed(0)
    features = torch.randn(12, 4, 7, 7)
    rois, *_ = crowd(ours)
    with torch.no_grad():
        kept, expected = (
            predict(head, rois, *head(features)) for head in (ours, plain)
        )
    assert len(kept) > 0
    for field, values in expected.items():
        assert torch.equal(kept[field], values), field


@pytest.mark.parametrize('cls', [VotingBBoxHead, KLBBoxHead])
def test_nobody_votes_where_nothing_is_found(cls):
    head = cls(in_channels=4, num_classes=2)
    outputs = crowd(head)
    for kept in (
        predict(head, *outputs, score_thr=1.0, box_voting=dict(sigma=0.1)),
        predict(head, *(x[:0] for x in outputs), box_voting=dict(sigma=0.1)),
    ):
        assert kept.bboxes.shape == (0, 4)
