"""R-FCN's second stage: pooling, voting, sampling, and what it costs."""

from copy import deepcopy

import pytest
import torch
from mmdet.models.backbones import ResNet
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import bbox2roi
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from tiny_detectors import faster_rcnn, rfcn_roi_head

from mmdet_klrpn.models import VGG

STRIDE = 16
K = 3
SIZE = 160


def config(num=16, sampler='RandomSampler', **kwargs):
    """Config of a small head: two classes, K x K bins, no shared head."""
    if isinstance(sampler, str):
        sampler = dict(type=sampler, num=num, pos_fraction=0.25)
    train_cfg = faster_rcnn('model.train_cfg.rcnn', {})
    train_cfg.sampler = ConfigDict(sampler)
    return ConfigDict(
        type='RFCNRoIHead',
        **rfcn_roi_head(8, **kwargs),
        train_cfg=train_cfg,
        test_cfg=faster_rcnn('model.test_cfg.rcnn', dict(score_thr=0.0)),
    )


def build(**kwargs):
    """Build a small head, its weights drawn anew."""
    torch.manual_seed(0)
    return MODELS.build(config(**kwargs))


def features(batch=1):
    """One level of features of images of SIZE pixels."""
    torch.manual_seed(1)
    return (torch.randn(batch, 8, SIZE // STRIDE, SIZE // STRIDE),)


def proposals(n):
    """Boxes anywhere in the image."""
    torch.manual_seed(2)
    corner = torch.rand(n, 2) * (SIZE - 48)
    side = 16 + torch.rand(n, 2) * 32
    return InstanceData(
        bboxes=torch.cat([corner, corner + side], dim=1),
        scores=torch.rand(n),
        labels=torch.zeros(n, dtype=torch.long),
    )


def sample(boxes=()):
    """An image with objects of the first class."""
    boxes = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    labels = torch.zeros(len(boxes), dtype=torch.long)
    return DetDataSample(
        metainfo=dict(img_shape=(SIZE, SIZE), scale_factor=(1.0, 1.0)),
        gt_instances=InstanceData(bboxes=boxes, labels=labels),
    )


def object_maps(x, y, cells=2):
    """Maps of two classes on which one object is written by hand.

    Where the object's bin (i, j) lies, and only there, the map of bin (i, j)
    of class 0 is 1, as that of an ideal detector; class 1 and the background
    are 0, and so are the box maps.

    Args:
        x (int): Column of the object's first cell.
        y (int): Its row.
        cells (int): Width and height of a bin, in cells.
    """
    side = SIZE // STRIDE
    scores = torch.zeros(1, 3 * K * K, side, side)
    for i in range(K):
        for j in range(K):
            rows = slice(y + i * cells, y + (i + 1) * cells)
            columns = slice(x + j * cells, x + (j + 1) * cells)
            scores[0, i * K + j, rows, columns] = 1
    return scores, torch.zeros(1, 4 * K * K, side, side)


@pytest.mark.parametrize(
    ('dx', 'dy', 'vote'),
    [
        (0, 0, 1),  # on the object: every bin sees its own part
        (1, 0, 1 / 2),  # half a bin away: half of each bin does
        (-1, 0, 1 / 2),
        (1, 1, 1 / 4),
        (2, 0, 0),  # by one bin: each sees the part of its neighbour
        (0, -2, 0),
    ],
)
def test_a_box_on_the_object_gets_the_vote_that_is_known(dx, dy, vote):
    head = build()
    maps = object_maps(x=2, y=2)
    edge, last = 2 * STRIDE, 8 * STRIDE - 1  # pixels of the object
    box = [0, edge, edge, last, last]
    roi = torch.tensor([box], dtype=torch.float32)
    roi += STRIDE * torch.tensor([0, dx, dy, dx, dy])
    result = head._bbox_forward(maps, roi)
    expected = torch.tensor([[vote, 0, 0]], dtype=torch.float32)
    torch.testing.assert_close(result['cls_score'], expected)
    assert result['bbox_pred'].abs().max() == 0


def test_a_box_of_another_size_gets_a_lower_vote():
    head = build()
    maps = object_maps(x=2, y=2)
    rois = torch.tensor(
        [[0, 32, 32, 127, 127], [0, 32, 32, 79, 127], [0, 0, 0, 159, 159]],
        dtype=torch.float32,
    )
    exact, narrow, wide = head._bbox_forward(maps, rois)['cls_score'][:, 0]
    assert exact == 1
    assert narrow < 0.5
    assert wide < 0.7


def test_translation_of_the_image_translates_the_scores():
    """Through convolutions, maps and bins, away from the borders."""
    torch.manual_seed(0)
    backbone = VGG(depth=11).eval()
    head = build()
    head.bbox_head = MODELS.build(
        dict(
            type='RFCNBBoxHead',
            in_channels=512,
            conv_out_channels=16,
            roi_feat_size=K,
            num_classes=2,
        )
    )
    head.init_weights()
    image = torch.zeros(1, 3, 480, 480)
    image[..., 208:272, 208:272] = 5 * torch.randn(3, 64, 64)
    moved = image.roll((32, -STRIDE), dims=(2, 3))
    roi = torch.tensor([[0, 201.0, 195.0, 280.0, 260.0]])
    moved_roi = roi + torch.tensor([0, -STRIDE, 32, -STRIDE, 32])

    with torch.no_grad():
        before = head._bbox_forward(head.score_maps(backbone(image)), roi)
        maps = head.score_maps(backbone(moved))
        after = head._bbox_forward(maps, moved_roi)
        stayed = head._bbox_forward(maps, roi)
    for key in ('cls_score', 'bbox_pred'):
        torch.testing.assert_close(before[key], after[key])
        change = (before[key] - stayed[key]).abs().max()
        assert change > 0.01 * before[key].abs().max()


@pytest.mark.parametrize('sampler', ['RandomSampler', 'OHEMSampler'])
def test_maps_are_computed_once_an_image(sampler, monkeypatch):
    """In training, mining included, and in prediction, for any RoIs."""
    head = build(sampler=sampler)
    shapes = []
    monkeypatch.setattr(
        head.bbox_head.rfcn_cls,
        'forward',
        lambda x, forward=head.bbox_head.rfcn_cls.forward: (
            shapes.append(x.shape) or forward(x)
        ),
    )
    samples = [sample([[20, 20, 60, 60]]), sample()]
    head.loss(features(2), [proposals(300), proposals(300)], samples)
    assert shapes == [(2, 16, 10, 10)]
    for n in (300, 1000):
        shapes.clear()
        head.predict(features(2), [proposals(n), proposals(n)], samples)
        assert shapes == [(2, 16, 10, 10)]


def test_ohem_takes_the_largest_losses():
    head = build(sampler='OHEMSampler', num=16)
    rois = proposals(300)
    boxes = rois.bboxes.clone()
    x = features()
    assigned = head.bbox_assigner.assign(
        InstanceData(priors=boxes), sample([[20, 20, 60, 60]]).gt_instances
    )
    with torch.no_grad():
        maps = head.score_maps(x)
        taken = head.bbox_sampler.sample(
            assigned,
            InstanceData(priors=boxes),
            sample([[20, 20, 60, 60]]).gt_instances,
            feats=maps,
        )
        image = torch.zeros(len(boxes), 1)
        scores = head._bbox_forward(maps, torch.cat([image, boxes], dim=1))
    background = -scores['cls_score'].log_softmax(dim=1)[:, 2]
    is_neg = (assigned.gt_inds[-300:] == 0).nonzero().squeeze(1)
    hardest = is_neg[background[is_neg].topk(taken.num_neg).indices]
    expected = {tuple(box) for box in boxes[hardest].tolist()}
    assert {tuple(box) for box in taken.neg_priors.tolist()} == expected
    assert taken.num_pos + taken.num_neg == 16


@pytest.mark.parametrize('sampler', ['RandomSampler', 'OHEMSampler'])
@pytest.mark.parametrize('boxes', [[], [[20, 20, 60, 60]]], ids=['0', '1'])
@pytest.mark.parametrize('agnostic', [True, False])
def test_every_parameter_gets_a_gradient(sampler, boxes, agnostic):
    cfg = config(sampler=sampler)
    cfg.bbox_head.reg_class_agnostic = agnostic
    head = MODELS.build(cfg)
    losses = head.loss(features(), [proposals(50)], [sample(boxes)])
    assert (losses['loss_bbox'] > 0) == bool(boxes)
    (losses['loss_cls'] + losses['loss_bbox']).backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


def test_no_proposal_predicts_nothing():
    (result,) = build().predict(features(), [proposals(0)], [sample()])
    assert len(result.bboxes) == 0


def test_last_stage_runs_over_the_whole_map_at_its_stride(tmp_path):
    """mmdet's ResLayer as conv5, from the checkpoint of its backbone."""
    torch.manual_seed(0)
    backbone = ResNet(18)
    torch.save(backbone.state_dict(), tmp_path / 'resnet18.pth')
    checkpoint = dict(
        type='Pretrained', checkpoint=str(tmp_path / 'resnet18.pth')
    )
    conv5 = dict(depth=18, stride=1, dilation=2, init_cfg=checkpoint)
    cfg = config(shared_head=dict(type='ResLayer', **conv5))
    cfg.bbox_head.in_channels = 512
    head = MODELS.build(cfg)
    head.init_weights()
    for name, value in head.shared_head.state_dict().items():
        assert torch.equal(value, backbone.state_dict()[name]), name

    x = (torch.randn(1, 256, 10, 10),)
    scores, boxes = head.score_maps(x)
    assert scores.shape == (1, 27, 10, 10)
    expected = head.bbox_head.score_maps(head.shared_head(x[0]))
    torch.testing.assert_close((scores, boxes), expected)


def test_autocast_keeps_the_scores_in_float32():
    head = build()
    samples = [sample([[20, 20, 60, 60]])]
    with torch.autocast('cpu', torch.bfloat16):
        result = head._bbox_forward(
            head.score_maps(features()),
            torch.tensor([[0, 20.0, 20.0, 60.0, 60.0]]),
        )
        losses = head.loss(features(), [proposals(50)], samples)
    assert result['cls_score'].dtype == torch.float32
    exact = head._bbox_forward(
        head.score_maps(features()),
        torch.tensor([[0, 20.0, 20.0, 60.0, 60.0]]),
    )
    torch.testing.assert_close(
        result['cls_score'], exact['cls_score'], atol=2e-2, rtol=2e-2
    )
    sum(value for key, value in losses.items() if 'loss' in key).backward()
    assert torch.isfinite(head.bbox_head.rfcn_conv.weight.grad).all()


@pytest.mark.parametrize('sampler', ['RandomSampler', 'OHEMSampler'])
@pytest.mark.parametrize('power', [0.0, 1.0])
def test_maps_may_stand_for_features(sampler, power):
    head = build(sampler=sampler, objectness_power=power)
    x, given = features(2), [proposals(30), proposals(40)]
    samples = [sample([[20, 20, 60, 60]]), sample()]
    rois = bbox2roi([own.bboxes for own in given])
    metas = [own.metainfo for own in samples]

    def results(x):
        raw = head._bbox_forward(x, rois)
        boxes = head.predict_bbox(x, metas, given, head.test_cfg)
        torch.manual_seed(0)
        losses = head.loss(x, deepcopy(given), samples)
        return (
            *raw.values(),
            *head.forward(x, given),
            *[own.scores for own in boxes],
            losses['loss_cls'],
            losses['loss_bbox'],
        )

    for ours, theirs in zip(results(head.score_maps(x)), results(x)):
        assert torch.equal(ours, theirs)


def test_mask_head_is_refused():
    with pytest.raises(ValueError, match='mask_head must be None'):
        build(mask_head=dict(type='FCNMaskHead'), mask_roi_extractor=None)


@pytest.mark.parametrize(
    ('part', 'changes', 'message'),
    [
        (
            'bbox_roi_extractor',
            dict(output_size=7),
            'output_size must be bbox_head.roi_feat_size, 3, but got 7',
        ),
        (
            'bbox_roi_extractor',
            dict(
                type='SingleRoIExtractor',
                roi_layer=dict(type='RoIAlign', output_size=K),
                out_channels=8,
                featmap_strides=[16],
            ),
            'bbox_roi_extractor must be a PSRoIExtractor',
        ),
        (
            'bbox_head',
            dict(type='Shared2FCBBoxHead', in_channels=8, num_classes=2),
            'bbox_head must be a RFCNBBoxHead',
        ),
    ],
)
def test_parts_that_do_not_vote_are_refused(part, changes, message):
    cfg = config()
    if 'type' in changes:
        cfg[part] = changes
    else:
        cfg[part].roi_layer.update(changes)
    with pytest.raises(ValueError, match=message):
        MODELS.build(cfg)


def test_more_than_one_level_is_refused():
    with pytest.raises(ValueError, match='one level of features, but got 2'):
        build().predict(features() * 2, [proposals(5)], [sample()])
