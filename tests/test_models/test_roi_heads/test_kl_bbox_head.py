"""Detections with the standard deviations of their edges."""

import math
import re

import pytest
import torch
from conftest import ROOT
from mmdet.models.roi_heads.bbox_heads import Shared2FCBBoxHead
from mmdet.registry import MODELS
from mmengine.config import Config, ConfigDict
from mmengine.optim import build_optim_wrapper
from tiny_detectors import batch, predict, tiny_detector, train
from torch.distributions import Normal

from mmdet_klrpn.models import KLBBoxHead, KLRFCNBBoxHead, KLVGGBBoxHead
from mmdet_klrpn.utils.conversion import mmdet_configs

CLASSES = 3
META = dict(img_shape=(60, 80), ori_shape=(30, 160), scale_factor=(0.5, 2.0))
CFG = dict(
    score_thr=0.05, nms=dict(type='nms', iou_threshold=0.5), max_per_img=100
)


def small_head(**kwargs):
    torch.manual_seed(0)
    return KLBBoxHead(
        in_channels=4,
        fc_out_channels=8,
        roi_feat_size=2,
        num_classes=CLASSES,
        **kwargs,
    )


def some_rois(count):
    torch.manual_seed(1)
    corners = torch.rand(count, 2) * torch.tensor([60.0, 40.0])
    sides = 8 + torch.rand(count, 2) * 20
    boxes = torch.cat([corners, corners + sides], dim=1)
    return torch.cat([torch.zeros(count, 1), boxes], dim=1)


def std(logit, min_std):
    """The deviation of a logit, from the head's definition."""
    rise = math.exp(-logit) if logit >= 0 else 1 - logit
    return math.sqrt(min_std**2 + (1 - min_std**2) * rise)


@pytest.mark.parametrize('agnostic', [True, False])
@pytest.mark.parametrize('num_stds', [1, 4])
@pytest.mark.parametrize('decoded', [True, False])
def test_divergence_is_the_likelihood_of_the_positives(
    agnostic, num_stds, decoded
):
    head = small_head(
        reg_class_agnostic=agnostic,
        num_stds=num_stds,
        reg_decoded_bbox=decoded,
        min_std=0.1,
        loss_kl=dict(type='KLDivLoss', loss_weight=2.0),
    )
    rois, boxes = some_rois(6), 1 if agnostic else CLASSES
    labels = torch.tensor([2, 0, CLASSES, 1, CLASSES, 0])
    offsets = torch.randn(6, boxes * 4)
    logits = 2 * torch.randn(6, boxes * num_stds)
    targets, weights = torch.randn(6, 4), torch.rand(6, 4)
    given = targets
    if decoded:
        given = head.bbox_coder.decode(rois[:, 1:], targets)
    losses = head.loss(
        torch.randn(6, CLASSES + 1),
        torch.cat([offsets, logits], dim=1),
        rois,
        labels,
        torch.ones(6),
        given,
        weights,
    )
    total = 0.0
    for n in (0, 1, 3, 5):
        own = 0 if agnostic else int(labels[n])
        for i in range(4):
            logit = logits[n, own * num_stds + i % num_stds].item()
            gaussian = Normal(offsets[n, own * 4 + i], std(logit, 0.1))
            nats = -gaussian.log_prob(targets[n, i])
            nats -= 0.5 * math.log(2 * math.pi)
            total += (weights[n, i] * nats).item()
    assert losses['loss_kl'].item() == pytest.approx(2 * total / 6, rel=1e-4)


def test_nothing_but_the_new_layer_learns_from_the_divergence():
    head = small_head()
    features = torch.randn(5, 4, 2, 2, requires_grad=True)
    labels = torch.tensor([0, 1, 2, 0, CLASSES])
    losses = head.loss(
        *head(features),
        some_rois(5),
        labels,
        torch.ones(5),
        torch.randn(5, 4),
        torch.ones(5, 4),
    )
    sum(value for name, value in losses.items() if name != 'acc').mul(
        0
    ).backward(retain_graph=True)
    losses['loss_kl'].backward()
    assert features.grad.abs().sum() == 0
    learns = {n for n, p in head.named_parameters() if (p.grad != 0).any()}
    assert learns == {'fc_reg.stds.weight', 'fc_reg.stds.bias'}
    assert head.fc_reg.stds.weight.grad.abs().sum() > 0


@pytest.mark.parametrize('agnostic', [True, False])
def test_it_is_the_head_without_stds_otherwise(agnostic):
    """Of equal weights: its losses, and its detections."""
    kwargs = dict(reg_class_agnostic=agnostic)
    head = small_head(**kwargs)
    plain = Shared2FCBBoxHead(
        in_channels=4,
        fc_out_channels=8,
        roi_feat_size=2,
        num_classes=CLASSES,
        **kwargs,
    )
    missing = head.load_state_dict(plain.state_dict(), strict=False)
    assert missing.missing_keys == ['fc_reg.stds.weight', 'fc_reg.stds.bias']
    assert missing.unexpected_keys == []
    rois, features = some_rois(8), 3 * torch.randn(8, 4, 2, 2)
    labels = torch.tensor([0, 1, 2, 0, CLASSES, 1, CLASSES, 2])
    targets = labels, torch.ones(8), torch.randn(8, 4), torch.ones(8, 4)
    ours = head.loss(*head(features), rois, *targets)
    theirs = plain.loss(*plain(features), rois, *targets)
    assert ours.keys() - theirs.keys() == {'loss_kl'}
    for name, value in theirs.items():
        assert torch.equal(ours[name], value)
    detections = [
        h.predict_by_feat(
            [rois],
            *([x.detach()] for x in h(features)),
            [META],
            ConfigDict(CFG),
            rescale=True,
        )[0]
        for h in (head, plain)
    ]
    for name in ('bboxes', 'scores', 'labels'):
        assert torch.equal(detections[0][name], detections[1][name])
    assert len(detections[0].bbox_stds) == len(detections[1]) > 2


@pytest.mark.parametrize('agnostic', [True, False])
@pytest.mark.parametrize('num_stds', [1, 4])
def test_stds_are_of_the_kept_boxes_in_original_pixels(agnostic, num_stds):
    """Each by hand, found again by the score of its RoI and class."""
    head = small_head(
        reg_class_agnostic=agnostic, num_stds=num_stds, std_scale=1.5
    )
    rois, boxes = some_rois(8), 1 if agnostic else CLASSES
    logits = torch.randn(8, CLASSES + 1)
    offsets = torch.randn(8, boxes * 4)
    std_logits = torch.randn(8, boxes * num_stds)
    (found,) = head.predict_by_feat(
        [rois],
        [logits],
        [torch.cat([offsets, std_logits], dim=1)],
        [META],
        ConfigDict(CFG),
        rescale=True,
    )
    scores = logits.softmax(dim=1)
    assert len(found) > 3
    for box, score, label, stds in zip(
        found.bboxes, found.scores, found.labels, found.bbox_stds
    ):
        n = int((scores[:, label] - score).abs().argmin())
        own = 0 if agnostic else int(label)
        encoded = [
            std(std_logits[n, own * num_stds + i % num_stds].item(), 0.03)
            for i in range(4)
        ]
        for axis in (0, 1):
            side = (rois[n, 3 + axis] - rois[n, 1 + axis]).item()
            growth = math.exp(0.2 * offsets[n, own * 4 + 2 + axis].item())
            centre = 0.1 * side * encoded[axis]
            half = 0.5 * side * growth * 0.2 * encoded[2 + axis]
            pixels = (
                1.5 * math.hypot(centre, half) / META['scale_factor'][axis]
            )
            assert stds[axis].item() == pytest.approx(pixels, rel=1e-4)
            assert stds[2 + axis].item() == pytest.approx(pixels, rel=1e-4)
            # At the border as well, where a clipped box ends.
            assert 0 <= box[axis] <= box[2 + axis]


def test_raw_predictions_have_theirs():
    """Without a config of NMS, as augmented tests ask."""
    head = small_head(num_stds=1)
    (raw,) = head.predict_by_feat(
        [some_rois(5)],
        [torch.randn(5, CLASSES + 1)],
        [torch.randn(5, CLASSES * 5)],
        [META],
    )
    assert raw.bboxes.shape == raw.bbox_stds.shape == (5, CLASSES * 4)


@pytest.mark.parametrize('column', [0, CLASSES * 4])
@pytest.mark.parametrize('value', [math.nan, math.inf])
def test_a_box_that_is_not_finite_is_dropped(column, value):
    """Whether its offset or its std is not."""
    head = small_head()
    pred = torch.randn(4, CLASSES * 8)
    pred[1, column] = value
    (found,) = head.predict_by_feat(
        [some_rois(4)],
        [torch.zeros(4, CLASSES + 1)],
        [pred],
        [META],
        ConfigDict(CFG, nms=dict(type='nms', iou_threshold=1.0)),
    )
    assert len(found) == 3 * CLASSES
    assert torch.isfinite(found.bboxes).all()
    assert (found.bbox_stds > 0).all()
    assert torch.isfinite(found.bbox_stds).all()


def test_no_roi():
    head = small_head()
    (found,) = head.predict_by_feat(
        [torch.zeros(0, 5)],
        [torch.zeros(0, CLASSES + 1)],
        [torch.zeros(0, CLASSES * 8)],
        [META],
        ConfigDict(CFG),
        rescale=True,
    )
    assert found.bboxes.shape == found.bbox_stds.shape == (0, 4)
    assert len(found.scores) == len(found.labels) == 0


@pytest.mark.parametrize(
    'name', ['stds', 'one std for all classes', "R-FCN's stds"]
)
def test_detectors_train_and_detect(name):
    """Every weight learns, without objects too, and stds are positive."""
    model = tiny_detector(roi_head=name)
    losses = train(model, batch())
    assert losses['loss_kl'].isfinite()
    for parameter, value in model.roi_head.bbox_head.named_parameters():
        assert value.grad is not None, parameter
        assert value.grad.isfinite().all(), parameter
    assert train(model, batch(images=1))['loss_kl'] == 0
    _, found = predict(model, batch())
    for detections in found:
        assert detections.bbox_stds.shape == detections.bboxes.shape
        assert (detections.bbox_stds > 0).all()
    assert len(found[0]) > 0


def test_the_layer_can_be_trained_alone():
    """By learning rates, as the documentation says."""
    page = (ROOT / 'docs/detections.md').read_text()
    (lines,) = re.findall(
        r'optim_wrapper = dict\((.*?\n)\)\n', page, re.DOTALL
    )
    paramwise = eval(f'dict({lines})')
    model = tiny_detector(roi_head='stds')
    before = {name: p.clone() for name, p in model.named_parameters()}
    optimizer = dict(type='AdamW', lr=1e-2, weight_decay=0.1)
    wrapper = build_optim_wrapper(
        model, dict(optimizer=optimizer, **paramwise)
    )
    train(model, batch())
    wrapper.optimizer.step()
    changed = {
        name
        for name, p in model.named_parameters()
        if (p != before[name]).any()
    }
    layer = 'roi_head.bbox_head.fc_reg.stds'
    assert changed == {f'{layer}.weight', f'{layer}.bias'}


def tiny_cascade(kind, head):
    """A cascade of two classes with stds in its last stage, or in all."""
    model = Config.fromfile(
        mmdet_configs() / f'_base_/models/{kind}_r50_fpn.py'
    ).model
    model.backbone.update(depth=18, base_channels=8, init_cfg=None)
    model.neck.update(in_channels=[8, 16, 32, 64], out_channels=32)
    model.rpn_head.update(type='KLRPNHead', in_channels=32, feat_channels=8)
    for name, part in model.roi_head.items():
        if name.endswith('extractor'):
            part.out_channels = 32
    for stage in model.roi_head.bbox_head:
        stage.update(in_channels=32, fc_out_channels=16, num_classes=2)
    for stage in model.roi_head.bbox_head[head]:
        stage.type = 'KLBBoxHead'
    if 'mask_head' in model.roi_head:
        model.roi_head.mask_head.update(
            num_convs=1, in_channels=32, conv_out_channels=8, num_classes=2
        )
    model.test_cfg.rcnn.update(score_thr=0.0, max_per_img=5)
    torch.manual_seed(0)
    return MODELS.build(dict(model, _scope_='mmdet'))


def test_every_stage_of_a_cascade():
    model = tiny_cascade('cascade-rcnn', slice(None))
    losses = train(model, batch())
    for stage in range(3):
        assert losses[f's{stage}.loss_kl'].isfinite()
    _, found = predict(model, batch())
    assert all((detections.bbox_stds > 0).all() for detections in found)
    assert len(found[0]) == 5


def test_cascade_and_masks():
    """In the last stage, where a mask head rescales the boxes."""
    model = tiny_cascade('cascade-mask-rcnn', slice(-1, None)).eval()
    data = batch(images=1)
    found = []
    for shape, scale in (((48, 32), (4.0, 2.0)), ((96, 128), (1.0, 1.0))):
        meta = dict(ori_shape=shape, scale_factor=scale)
        data['data_samples'][0].set_metainfo(meta)
        with torch.no_grad():
            (sample,) = model.test_step(data)
        found.append(sample.pred_instances)
    large, plain = found
    factor = torch.tensor([4.0, 2.0, 4.0, 2.0])
    assert len(large.masks) == len(large) == 5
    torch.testing.assert_close(large.bboxes * factor, plain.bboxes)
    torch.testing.assert_close(large.bbox_stds * factor, plain.bbox_stds)


@pytest.mark.parametrize(
    ('option', 'message'),
    [
        (dict(num_stds=2), 'num_stds must be 1 or 4, but got 2'),
        (dict(min_std=0), 'min_std must be in'),
        (dict(std_scale=-1), 'std_scale must be > 0'),
        (dict(bbox_coder=dict(type='TBLRBBoxCoder')), "but got 'TBLRBBoxC"),
        (dict(with_reg=False), 'leave out with_reg=False'),
        (
            dict(reg_predictor_cfg=dict(type='NormedLinear')),
            'leave out with_reg=False and reg_predictor_cfg',
        ),
    ],
)
def test_bad_options(option, message):
    with pytest.raises(ValueError, match=message):
        small_head(**option)


def test_r_fcn_layer_is_found_by_its_channels():
    head = KLRFCNBBoxHead(
        in_channels=8, conv_out_channels=6, roi_feat_size=3, num_classes=2
    )
    _, maps = head.score_maps(torch.randn(1, 8, 4, 5))
    assert head.rfcn_reg.out_channels == maps.shape[1] == 9 * 8


def test_initial_stds_are_one():
    """In encoded offsets: a tenth of an RoI's size at its centre."""
    head = KLVGGBBoxHead(
        in_channels=4, fc_out_channels=8, roi_feat_size=2, num_classes=2
    )
    head.init_weights()
    weight = head.fc_reg.stds.weight
    assert weight.std() < 0.01
    assert head.fc_reg.stds.bias.abs().sum() == 0
