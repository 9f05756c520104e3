"""Every config builds a detector that trains a step and predicts."""

import logging
import re
from collections import Counter
from pathlib import Path

import mmdet
import pytest
import sweep
import torch
from conftest import (
    KL_RPN_CONFIG,
    ROOT,
    STUDY,
    warnings_logged,
    without_scope,
)
from mmdet.registry import MODELS
from mmengine.config import Config, ConfigDict
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from mmengine.runner.checkpoint import load_checkpoint
from mmengine.utils import import_modules_from_strings
from tiny_inputs import images

CONFIGS = sorted(
    path
    for path in (ROOT / 'configs').rglob('*.py')
    if '_base_' not in path.parts
)


def build(path):
    """Build a config's detector, without weights and with few proposals."""
    config = Config.fromfile(path)
    imports = config.get('custom_imports')
    if imports:
        import_modules_from_strings(**imports)
    init_default_scope(config.default_scope)
    torch.manual_seed(0)
    return MODELS.build(ConfigDict(sweep.capped(config.model.to_dict())))


def test_base_names_are_unique():
    """Mim searches a config by its base name."""
    names = Counter(path.name for path in (ROOT / 'configs').rglob('*.py'))
    assert max(names.values()) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    'path',
    [*CONFIGS, *sorted(STUDY.glob('[fr]*.py'))],
    ids=lambda path: path.stem,
)
def test_trains_a_step_and_predicts(path):
    model = build(path)
    is_kl_rpn = 'kl-rpn' in path.stem
    # MobileNetV2 goes on behind the last map that is read, and DDP is told.
    unread = Config.fromfile(path).get('find_unused_parameters', False)
    head = getattr(model, 'rpn_head', None) or model.bbox_head
    assert (type(head).__name__ == 'KLRPNHead') == is_kl_rpn

    for objects in (0, 1):
        # DDP waits for a gradient of every parameter.
        without = sweep.train(model, objects)
        assert unread or not without
        assert all(name.startswith('backbone.') for name in without)
        for name, parameter in model.named_parameters():
            if parameter.grad is not None:
                assert torch.isfinite(parameter.grad).all(), name
    sweep.predict(model)


def test_rfcn_with_kl_rpn_trains_in_bfloat16():
    """mmcv's RoIAlign, and its NMS on RPNHead's scores, know none on a CPU."""
    model = build(ROOT / 'tests/configs/rfcn_mobilenetv2_kl-rpn_24e_trees.py')
    torch.manual_seed(0)
    data = images(objects=1).values()
    with torch.autocast('cpu', torch.bfloat16):
        loss, half = model.parse_losses(model.loss(*data))
    loss.backward()
    for name, parameter in model.rpn_head.named_parameters():
        assert torch.isfinite(parameter.grad).all(), name
    _, single = model.parse_losses(model.loss(*data))
    for name in ('loss_rpn_pos', 'loss_rpn_neg'):
        expected = pytest.approx(single[name].item(), abs=0.02)
        assert half[name].item() == expected


def test_paper_variants_are_what_the_sources_state():
    paths = [path for path in CONFIGS if 'kl-rpn-paper' in path.stem]
    assert len(paths) == 2
    for path in paths:
        head = Config.fromfile(path).model.rpn_head
        assert head.pos_std == 0
        assert head.neg_divergence == 'forward'
        assert head.num_stds == 1
        assert head.neg_std == 3
        assert head.loss_mean is None


@pytest.mark.parametrize(
    'path',
    [path for path in CONFIGS if path.parent.name == 'kl_rpn'],
    ids=lambda path: path.stem,
)
def test_differs_from_its_baseline_in_the_head_alone(path):
    ours = Config.fromfile(path).to_dict()
    name = re.sub(
        '(?<=_)kl-rpn(-paper|-objectness|-second-look|-bbox)?[-_]',
        '',
        path.name,
    )
    name = name.replace('-c4_1x', '_c4-1x')  # as mmdet spells that one
    found = list((ROOT / 'configs').rglob(name))
    if not found:  # one of mmdet's own
        root = Path(mmdet.__file__).parent / '.mim/configs'
        found = list(root.rglob(name))
    (baseline,) = found
    baseline = Config.fromfile(baseline).to_dict()
    assert ours.pop('custom_imports')['imports'] == ['mmdet_klrpn']
    baseline.pop('custom_imports', None)
    assert ours['model'].pop('rpn_head')['type'] == 'KLRPNHead'
    assert baseline['model'].pop('rpn_head')['type'] == 'RPNHead'
    if 'paper' in path.stem:  # whose divergence is that of a Dirac
        assert ours['optim_wrapper'].pop('clip_grad') == dict(max_norm=1)
    if 'objectness' in path.stem:
        own = ours['model']['roi_head']
        if own['type'] == 'RFCNRoIHead':
            assert own.pop('objectness_power') == 1
        else:
            assert own['type'] == 'ObjectnessRoIHead'
            own['type'] = 'StandardRoIHead'
    if 'bbox' in path.stem:
        own, given = ours['model']['roi_head'], baseline['model']['roi_head']
        assert own.pop('bbox_head') == dict(
            given.pop('bbox_head'), type='KLBBoxHead'
        )
        for part in ('val_evaluator', 'test_evaluator', 'visualizer'):
            assert ours[part].pop('type').startswith('Std')
            del baseline[part]['type']
    if path.stem.startswith('rpn_'):  # whose metric fails on numpy 1.24
        for split in ('val_evaluator', 'test_evaluator'):
            assert ours.pop(split)['type'] == 'ProposalMetric'
            assert baseline.pop(split)['metric'] == 'proposal_fast'
    assert without_scope(ours) == without_scope(baseline)


@pytest.mark.parametrize(
    'path',
    [path for path in CONFIGS if path.parent.name == 'kl_rpn'],
    ids=lambda path: path.stem,
)
def test_head_is_its_baseline_s_but_for_the_method(path):
    """Anchors, widths, coder: what is not KL-RPN's is inherited."""
    head = Config.fromfile(path).model.rpn_head
    inherited = {
        'anchor_generator',
        'bbox_coder',
        'feat_channels',
        'in_channels',
        'loss_bbox',
        'loss_cls',
        'type',
    }
    method = {
        'loss_mean',
        'neg_divergence',
        'neg_std',
        'num_stds',
        'pos_std',
        'pos_topk',
    }
    named = {'paper': method, 'second-look': {'second_look'}}
    wanted = [keys for name, keys in named.items() if name in path.stem]
    assert set(head) - inherited == set().union(*wanted)


@pytest.mark.parametrize('num_stds', [1, 4])
def test_rpn_checkpoint_loads_and_names_what_is_new(num_stds, tmp_path):
    baseline = Config.fromfile(KL_RPN_CONFIG)
    baseline.model.backbone.init_cfg = None
    baseline.model.rpn_head.type = 'RPNHead'
    init_default_scope('mmdet')
    rpn = MODELS.build(baseline.model)
    torch.save(dict(state_dict=rpn.state_dict()), tmp_path / 'rpn.pth')

    config = Config.fromfile(KL_RPN_CONFIG)
    config.model.backbone.init_cfg = None
    config.model.rpn_head.num_stds = num_stds
    model = MODELS.build(config.model)
    with warnings_logged(logging.INFO) as lines:
        load_checkpoint(
            model,
            str(tmp_path / 'rpn.pth'),
            logger=MMLogger.get_current_instance(),
        )
    text = '\n'.join(lines)
    assert ('rpn_head.rpn_cls.weight' in text) == (num_stds > 1)
    assert 'size mismatch' not in text
    assert 'missing keys' not in text
    torch.testing.assert_close(
        model.rpn_head.rpn_reg.weight, rpn.rpn_head.rpn_reg.weight
    )
    torch.testing.assert_close(
        model.rpn_head.rpn_cls.weight[::num_stds],
        rpn.rpn_head.rpn_cls.weight,
    )


def test_rpn_detector_returns_stds_with_its_boxes():
    model = build(ROOT / 'configs/kl_rpn/rpn_r50_fpn_kl-rpn_1x_coco.py')
    model.eval()
    with torch.no_grad():
        (result, _) = model.predict(*images(objects=1).values())
    proposals = result.pred_instances
    assert proposals.bbox_stds.shape == proposals.bboxes.shape
    assert (proposals.bbox_stds > 0).all()
