"""Detectors inside of semi-supervised ones, trackers and wrappers."""

import sys
from types import SimpleNamespace

import cv2
import pytest
import torch
from conftest import load_tool, run
from mmdet.models import DetTTAModel
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.model import ExponentialMovingAverage
from torch import nn

import mmdet_klrpn  # noqa: F401
from mmdet_klrpn.apis import (
    load_detector,
    predicting_detector,
    propose,
    rpn_head,
)
from mmdet_klrpn.deployment import describe, find_kl_rpn
from mmdet_klrpn.engine import ProposalVisualizationHook
from mmdet_klrpn.evaluation import FirstStageErrors, box_errors
from mmdet_klrpn.models import KLRPNHead
from mmdet_klrpn.utils.conversion import mmdet_configs

SOFT_TEACHER = (
    'mmdet::soft_teacher/'
    'soft-teacher_faster-rcnn_r50-caffe_fpn_180k_semi-0.1-coco.py'
)
CAFFE_MEAN = [103.53, 116.28, 123.675]
PANOPTIC = 'mmdet::panoptic_fpn/panoptic-fpn_r50_fpn_1x_coco.py'
QDTRACK = 'mmdet::qdtrack/qdtrack_faster-rcnn_r50_fpn_4e_base.py'


def write(path, base, nested=True):
    """A config of mmdet's with KL-RPN and a small backbone."""
    detector = dict(
        backbone=dict(depth=18, init_cfg=None),
        neck=dict(in_channels=[64, 128, 256, 512]),
        rpn_head=dict(type='KLRPNHead'),
    )
    model = dict(detector=detector) if nested else detector
    path.write_text(
        f'_base_ = {base!r}\nmodel = {model}\n'
        "custom_imports = dict(imports=['mmdet_klrpn'])\n"
    )
    return path


def build(tmp_path, base, nested=True):
    config = Config.fromfile(write(tmp_path / 'config.py', base, nested))
    return MODELS.build(dict(config.model, _scope_='mmdet')).eval()


def batch():
    sample = DetDataSample(
        metainfo=dict(
            img_shape=(64, 96), ori_shape=(64, 96), scale_factor=(1.0, 1.0)
        )
    )
    image = torch.randint(0, 255, (3, 64, 96), dtype=torch.uint8)
    return dict(inputs=[image], data_samples=[sample])


@pytest.mark.parametrize('predict_on', ['teacher', 'student', None])
def test_a_semi_supervised_detector_proposes_as_it_predicts(
    predict_on, tmp_path
):
    model = build(tmp_path, SOFT_TEACHER)
    # mmdet's loop of validations leaves None where it was not given.
    model.semi_test_cfg['predict_on'] = predict_on
    inner = model.teacher if predict_on == 'teacher' else model.student
    for part in (model.student, model.teacher):
        nn.init.normal_(part.rpn_head.rpn_cls.weight, std=0.1)
    assert predicting_detector(model) is inner
    assert rpn_head(model) is inner.rpn_head
    given = batch()
    (stage,) = propose(model, given)
    data = model.data_preprocessor(given)
    features = inner.extract_feat(data['inputs'])
    (expected,) = inner.rpn_head.predict(
        features, data['data_samples'], rescale=True
    )
    assert torch.equal(stage.proposals.bbox_stds, expected.bbox_stds)
    assert find_kl_rpn(model) == (inner, inner.rpn_head)
    facts = describe(model, inner.rpn_head)
    assert facts['mean'] == pytest.approx(CAFFE_MEAN)


def test_defaults_to_the_teacher(tmp_path):
    model = build(tmp_path, SOFT_TEACHER)
    for test_cfg in (None, {}):
        model.semi_test_cfg = test_cfg
        assert predicting_detector(model) is model.teacher


def test_looks_into_wrappers(tmp_path):
    model = build(tmp_path, SOFT_TEACHER)
    for wrapped in (
        nn.DataParallel(model),
        nn.DataParallel(DetTTAModel(module=model)),
        ExponentialMovingAverage(model),
    ):
        teacher = predicting_detector(wrapped)
        assert type(teacher).__name__ == 'FasterRCNN'
        (stage,) = propose(wrapped, batch())
        assert stage.head is teacher.rpn_head
        assert isinstance(stage.head, KLRPNHead)


def test_a_panoptic_detector_proposes(tmp_path):
    model = build(tmp_path, PANOPTIC, nested=False)
    (stage,) = propose(model, batch())
    assert stage.head is model.rpn_head
    assert len(stage.proposals) > 0
    assert find_kl_rpn(model) == (model, model.rpn_head)


def test_a_tracker_exports_its_detector_and_is_drawn_in_no_picture(tmp_path):
    model = build(tmp_path, QDTRACK)
    detector, head = find_kl_rpn(model)
    assert detector is model.detector
    assert describe(model, head)['mean'] == pytest.approx(CAFFE_MEAN)
    for call in (rpn_head, lambda x: propose(x, batch())):
        with pytest.raises(ValueError, match=r'a QDTrack takes videos.*alone'):
            call(model)


def test_the_hook_refuses_before_a_training(tmp_path):
    student, teacher = (
        Config.fromfile(mmdet_configs() / name).model
        for name in (
            'ld/ld_r18-gflv1-r101_fpn_1x_coco.py',
            'retinanet/retinanet_r18_fpn_1x_coco.py',
        )
    )
    student.update(teacher_config=dict(model=teacher), teacher_ckpt=None)
    refused = {
        'a QDTrack takes videos': build(tmp_path, QDTRACK),
        'a KnowledgeDistillationSingleStageDetector proposes no regions': (
            MODELS.build(dict(student, _scope_='mmdet'))
        ),
    }
    for reason, model in refused.items():
        runner = SimpleNamespace(model=nn.DataParallel(model))
        with pytest.raises(ValueError, match=reason):
            ProposalVisualizationHook().before_run(runner)
        ProposalVisualizationHook(interval=0).before_run(runner)


def shrink(node):
    """Small images, everywhere in a config."""
    if isinstance(node, list):
        list(map(shrink, node))
    if not isinstance(node, dict):
        return
    if 'scale' in node:
        small = [(96, 96), (112, 112)]
        node['scale'] = small if node.type == 'RandomResize' else small[0]
    list(map(shrink, node.values()))


@pytest.fixture(scope='module')
def trained(tiny_data, tmp_path_factory):
    """Config and folder of a training of mmdet's SoftTeacher, and its log."""
    folder = tmp_path_factory.mktemp('soft_teacher')
    config = Config.fromfile(write(folder / 'parent.py', SOFT_TEACHER))
    data = dict(
        data_root=f'{tiny_data}/',
        ann_file='annotations.json',
        data_prefix=dict(img='images/'),
        metainfo=dict(classes=('tree',)),
    )
    train = config.train_dataloader
    train.update(batch_size=2, sampler=dict(train.sampler, batch_size=2))
    train.sampler.source_ratio = [1, 1]
    loaders = (train, config.val_dataloader, config.test_dataloader)
    for loader in loaders:
        loader.update(num_workers=0, persistent_workers=False)
        for leaf in loader.dataset.get('datasets', [loader.dataset]):
            leaf.update(data)
        shrink(loader)
    for evaluator in (config.val_evaluator, config.test_evaluator):
        evaluator.ann_file = f'{tiny_data}/annotations.json'
    config.model.detector.roi_head.bbox_head.num_classes = 1
    config.train_cfg.update(max_iters=2, val_interval=2)
    config.default_hooks.checkpoint.interval = 2
    config.default_hooks.logger.interval = 1
    config.visualizer.vis_backends = [dict(type='LocalVisBackend')]
    config.custom_hooks.append(
        dict(type='ProposalVisualizationHook', num_images=2)
    )
    config.dump(folder / 'soft_teacher.py')
    tool = (sys.executable, 'tools/train.py', folder / 'soft_teacher.py')
    text = run(*tool, '--work-dir', folder / 'work')
    return folder / 'soft_teacher.py', folder / 'work', text


@pytest.mark.slow
def test_soft_teacher_trains_and_its_proposals_are_drawn(trained):
    _, work_dir, text = trained
    assert 'sup_loss_rpn_pos: ' in text
    assert 'unsup_loss_rpn_pos: ' in text
    # At the end of the training, of the teacher, which is tested first.
    names = [path.name for path in work_dir.rglob('proposals_*.png')]
    assert sorted(names) == ['proposals_1_2.png', 'proposals_2_2.png']
    for path in work_dir.rglob('proposals_*.png'):
        assert cv2.imread(str(path)).std() > 10


@pytest.mark.slow
def test_tools_take_the_teacher(trained, tmp_path, monkeypatch):
    # After two steps few proposals are on an object.
    monkeypatch.setattr(box_errors, 'LEAST_ON_OBJECTS', 1)
    config, work_dir, _ = trained
    stage = FirstStageErrors(str(config), work_dir / 'iter_2.pth')
    errors = stage.errors('train', 50, 100)
    assert len(errors.scores) == 50 * (7 + 8)  # labelled, unlabelled
    assert len(errors.stds) == errors.hits.sum()
    out = tmp_path / 'recalibrated.py'
    recalibrate = load_tool('tools/analysis_tools/recalibrate.py')
    recalibrate.write(config, stage.place, 0.5, out)
    model = load_detector(out, work_dir / 'iter_2.pth')
    for part in (model.teacher, model.student):
        assert part.rpn_head.std_scale == 0.5
    for name, value in model.state_dict().items():
        assert torch.equal(value, stage.model.state_dict()[name]), name
