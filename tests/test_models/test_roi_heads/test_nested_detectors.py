"""RoI heads within SoftTeacher, panoptic segmentors and Mask R-CNN."""

import pytest
import sweep
import torch
from conftest import ROOT, STUDY
from mmdet.registry import MODELS
from mmengine.config import Config, ConfigDict
from mmengine.registry import init_default_scope
from tiny_inputs import tiny_loss, tiny_prediction

from mmdet_klrpn.models import ObjectnessRoIHead
from mmdet_klrpn.utils.conversion import mmdet_configs

PRIOR = dict(objectness_prior=True, objectness_power=1.0)
OHEM = dict(type='OHEMSampler', num=16, pos_fraction=0.25)
RFCN = ROOT / 'tests/configs/rfcn_mobilenetv2_kl-rpn_8e_stamps.py'
FASTER_RCNN = STUDY / 'faster-rcnn_mobilenetv2_8e_stamps.py'
POOL = dict(type='PSRoIPool', output_size=3)


def model_of(path):
    """The model of a config, from no checkpoint, with few proposals."""
    init_default_scope('mmdet')
    return ConfigDict(sweep.capped(Config.fromfile(path).model.to_dict()))


def build_soft_teacher(path, changes, sampler=None):
    """mmdet's SoftTeacher, which keeps every pseudo label here."""
    detector = model_of(path)
    detector.roi_head.update(changes)
    if detector.roi_head.type == 'RFCNRoIHead':
        extractor = detector.roi_head.bbox_roi_extractor
        extractor.roi_layer = ConfigDict(POOL)
    if sampler:
        detector.train_cfg.rcnn.sampler = ConfigDict(sampler)
    name = 'soft-teacher_faster-rcnn_r50-caffe_fpn_180k_semi-0.1-coco.py'
    model = model_of(mmdet_configs() / 'soft_teacher' / name)
    model.detector = detector
    keep_all = dict(
        pseudo_label_initial_score_thr=0.0,
        rpn_pseudo_thr=0.0,
        cls_pseudo_thr=0.0,
        reg_pseudo_thr=10.0,
    )
    model.semi_train_cfg.update(keep_all)
    torch.manual_seed(0)
    model = MODELS.build(model)
    model.student.rpn_head.init_weights()
    for module in (model.student.roi_head, model.teacher.roi_head):
        prior = getattr(module, 'objectness_prior', None)
        if prior is not None:
            torch.nn.init.normal_(prior.output.weight)
    return model


def assert_trains_and_predicts(model, trained):
    """A finite loss, a gradient of all that is trained, finite boxes."""
    model.train()
    loss, log = model.parse_losses(tiny_loss(model, objects=1))
    assert torch.isfinite(loss)
    loss.backward()
    for name, parameter in trained.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
    model.eval()
    for boxes in tiny_prediction(model):
        assert torch.isfinite(boxes).all()
    return log


@pytest.mark.parametrize('objects', [0, 1])
@pytest.mark.parametrize(
    ('path', 'changes', 'sampler'),
    [
        (RFCN, {}, None),
        (RFCN, {}, OHEM),
        (RFCN, PRIOR, None),
        (FASTER_RCNN, dict(type='ObjectnessRoIHead'), None),
        (FASTER_RCNN, dict(type='ObjectnessRoIHead', **PRIOR), None),
    ],
    ids=['rfcn', 'rfcn-ohem', 'rfcn-prior', 'objectness', 'prior'],
)
def test_soft_teacher_trains_and_predicts(path, changes, sampler, objects):
    model = build_soft_teacher(path, changes, sampler)
    if not objects:
        loss, _ = model.parse_losses(tiny_loss(model, objects=0))
        assert torch.isfinite(loss)
        return
    log = assert_trains_and_predicts(model, model.student.roi_head)
    for branch in ('sup', 'unsup'):
        assert log[f'{branch}_loss_cls'] > 0
    assert all(p.grad is None for p in model.teacher.parameters())


@pytest.mark.parametrize(
    ('path', 'changes'),
    [(RFCN, PRIOR), (FASTER_RCNN, dict(type='ObjectnessRoIHead', **PRIOR))],
    ids=['rfcn', 'objectness'],
)
def test_student_and_teacher_score_the_same_regions_alike(path, changes):
    """SoftTeacher asks both, without scores, and weighs the one's by it."""
    model = build_soft_teacher(path, changes)
    model.teacher.load_state_dict(model.student.state_dict())
    model.eval()
    given = pseudo_labels(model)
    seen, unweighed = [], []
    student, teacher = model.student.roi_head, model.teacher.roi_head
    forward, predict = student._bbox_forward, teacher.predict_bbox

    def spy_student(x, rois):
        results = forward(x, rois)
        seen.append(results['cls_score'].detach().softmax(dim=1))
        return results

    def spy_teacher(*args, **kwargs):
        results = predict(*args, **kwargs)
        seen.append(torch.cat([own.scores for own in results]))
        return results

    student._bbox_forward, teacher.predict_bbox = spy_student, spy_teacher
    student.bbox_head.register_forward_hook(
        lambda module, args, output: unweighed.append(output[0].detach())
    )
    model.rcnn_cls_loss_by_pseudo_instances(*given)
    first, second = seen
    torch.testing.assert_close(first, second)
    (plain,) = unweighed
    assert (first - plain.softmax(dim=1)).abs().max() > 0.01


def pseudo_labels(model):
    """Arguments of SoftTeacher's loss of classes, from a tiny batch."""
    captured = {}
    method = model.rcnn_cls_loss_by_pseudo_instances

    def capture(*args):
        captured['args'] = args
        return {}

    model.rcnn_cls_loss_by_pseudo_instances = capture
    tiny_loss(model, objects=1)
    model.rcnn_cls_loss_by_pseudo_instances = method
    return captured['args']


@pytest.mark.parametrize(
    'name',
    [
        'panoptic_fpn/panoptic-fpn_r50_fpn_1x_coco.py',
        'mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py',
    ],
)
def test_masks_and_panoptic_segments_with_a_prior(name):
    config = model_of(mmdet_configs() / name)
    config.roi_head.update(type='ObjectnessRoIHead', **PRIOR)
    config.backbone.depth = 18
    config.neck.in_channels = [64, 128, 256, 512]
    torch.manual_seed(0)
    model = sweep.build(config)
    assert isinstance(model.roi_head, ObjectnessRoIHead)
    log = assert_trains_and_predicts(model, model.roi_head)
    assert log['loss_mask'] > 0


@pytest.mark.parametrize(
    'name',
    [
        'panoptic_fpn/panoptic-fpn_r50_fpn_1x_coco.py',
        'mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py',
    ],
)
def test_rfcn_refuses_masks_and_panoptic_segments_when_built(name):
    config = model_of(mmdet_configs() / name)
    head = model_of(RFCN).roi_head
    head.mask_head = config.roi_head.mask_head
    config.roi_head = head
    with pytest.raises(ValueError, match='mask_head must be None, for R-FCN'):
        MODELS.build(config)
