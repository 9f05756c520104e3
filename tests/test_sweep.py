"""KL-RPN trains a step and predicts in the detectors that mmdet ships.

A sample here, of 25 families; all of them with ``--every-config``.
"""

import pytest
import sweep
import sweep_table
import torch
from conftest import ROOT
from cpu_operators import carafe
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmdet_klrpn.models import KLRPNHead
from mmdet_klrpn.utils.conversion import mmdet_configs

PAGE = (ROOT / 'docs/sweep.md').read_text().splitlines()
SAMPLE = [
    'carafe/faster-rcnn_r50_fpn-carafe_1x_coco.py',
    'cascade_rcnn/cascade-mask-rcnn_r50_fpn_1x_coco.py',
    'crowddet/crowddet-rcnn_refine_r50_fpn_8xb2-30e_crowdhuman.py',
    'dcnv2/mask-rcnn_r50-mdconv-c3-c5_fpn_1x_coco.py',
    'detectors/detectors_cascade-rcnn_r50_1x_coco.py',
    'double_heads/dh-faster-rcnn_r50_fpn_1x_coco.py',
    'dynamic_rcnn/dynamic-rcnn_r50_fpn_1x_coco.py',
    'faster_rcnn/faster-rcnn_r50-caffe_c4-1x_coco.py',
    'fpg/mask-rcnn_r50_fpg_crop640-50e_coco.py',
    'gcnet/mask-rcnn_r50-gcb-r16-c3-c5_fpn_1x_coco.py',
    'grid_rcnn/grid-rcnn_r50_fpn_gn-head_2x_coco.py',
    'groie/faste-rcnn_r50_fpn_groie_1x_coco.py',
    'htc/htc_r50_fpn_1x_coco.py',
    'libra_rcnn/libra-faster-rcnn_r50_fpn_1x_coco.py',
    'masktrack_rcnn/'
    'masktrack-rcnn_mask-rcnn_r50_fpn_8xb1-12e_youtubevis2019.py',
    'ms_rcnn/ms-rcnn_r50-caffe_fpn_1x_coco.py',
    'panoptic_fpn/panoptic-fpn_r50_fpn_1x_coco.py',
    'pisa/mask-rcnn_r50_fpn_pisa_1x_coco.py',
    'point_rend/point-rend_r50-caffe_fpn_ms-1x_coco.py',
    'qdtrack/qdtrack_faster-rcnn_r50_fpn_4e_base.py',
    'rpn/rpn_r50_fpn_1x_coco.py',
    'sabl/sabl-cascade-rcnn_r50_fpn_1x_coco.py',
    'soft_teacher/'
    'soft-teacher_faster-rcnn_r50-caffe_fpn_180k_semi-0.01-coco.py',
    'swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco.py',
    'tridentnet/tridentnet_r50-caffe_1x_coco.py',
]


def pytest_generate_tests(metafunc):
    if 'name' in metafunc.fixturenames:
        every = metafunc.config.getoption('--every-config')
        metafunc.parametrize('name', sweep.config_names() if every else SAMPLE)


@pytest.fixture(scope='module')
def known():
    """Results so far: configs that share a model are tried once."""
    return {}


@pytest.mark.slow
def test_config_does_what_the_page_says(name, known):
    known[name] = result = sweep.sweep(name, known)
    assert sweep_table.kind(result) != sweep_table.OURS, result
    assert sweep_table.row(name, result) in PAGE


def test_sample_is_of_25_families():
    assert len({name.split('/')[0] for name in SAMPLE}) == len(SAMPLE) == 25


def test_page_has_no_limit_of_kl_rpn_and_counts_its_rows():
    rows = [line for line in PAGE if line.startswith('| `')]
    assert f'| all | {len(rows)} |' in PAGE
    works = sum(line.endswith('| yes | yes | yes | yes |  |') for line in rows)
    assert f'| {sweep_table.WORKS} | {works} |' in PAGE
    assert f'| {sweep_table.OURS} | 0 |' in PAGE


def result(reason, parent=''):
    steps = dict.fromkeys(sweep_table.STEPS, 'no' if reason else 'yes')
    return dict(steps, reason=reason, parent=parent, model='')


def test_page_tells_a_limit_of_kl_rpn_from_others():
    results = {
        'a.py': result(''),
        'b.py': result('built: E: no operator', 'the same'),
        'c.py': result('refused: no RPNHead'),
        'd.py': result('cannot be loaded: E: not found'),
        'e.py': result('predicted: E: nan', 'works'),
        'f.py': result('predicted: E: nan', 'predicted: E: other'),
    }
    page = sweep_table.format_page(results).splitlines()
    counts = (1, 1, 1, 1, 2)
    for what, count in zip(sweep_table.KINDS, counts):
        assert f'| {what} | {count} |' in page
    assert '| `a.py` | yes | yes | yes | yes |  |' in page
    assert (
        '| `e.py` | no | no | no | no | predicted: E: nan (with RPNHead: '
        'works) |'
    ) in page


def test_heads_are_found_by_their_class():
    found = {
        name
        for name in ('RPNHead', 'mmdet.RPNHead', 'StageCascadeRPNHead')
        if sweep._is_rpn_head(dict(type=name))
    }
    assert len(found) == 3
    for name in ('GARPNHead', 'EmbeddingRPNHead', 'mmpretrain.ResNet', None):
        assert not sweep._is_rpn_head(dict(type=name))


def test_only_numbers_of_boxes_are_capped():
    name = 'cascade_rcnn/cascade-mask-rcnn_r101_fpn_1x_coco.py'
    model = Config.fromfile(mmdet_configs() / name).model.to_dict()
    capped = sweep.capped(model)
    assert capped['train_cfg']['rpn_proposal']['max_per_img'] == 20
    assert capped['train_cfg']['rcnn'][2]['sampler']['num'] == 64
    assert capped['test_cfg']['rcnn']['score_thr'] == 0
    assert capped['backbone'].pop('init_cfg') is None
    model['backbone'].pop('init_cfg')
    for part in ('backbone', 'neck', 'rpn_head', 'roi_head'):
        assert capped[part] == model[part]


@pytest.fixture
def faster_rcnn():
    """Config of a small model, with KL-RPN or without."""
    init_default_scope('mmdet')

    def config(head):
        name = 'faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'
        config = Config.fromfile(mmdet_configs() / name)
        config.model.rpn_head.update(head)
        config.model.backbone.update(depth=18)
        config.model.neck.in_channels = [64, 128, 256, 512]
        return sweep.capped(config.model.to_dict())

    return config


@pytest.mark.slow
def test_head_that_leaves_a_parameter_out_is_caught(faster_rcnn, monkeypatch):
    loss = KLRPNHead.loss_by_feat

    def without_offsets(self, log_vars, bbox_preds, *args, **kwargs):
        bbox_preds = [level.detach() for level in bbox_preds]
        return loss(self, log_vars, bbox_preds, *args, **kwargs)

    monkeypatch.setattr(KLRPNHead, 'loss_by_feat', without_offsets)
    attempt = sweep.attempt(faster_rcnn(dict(type='KLRPNHead')))
    assert list(attempt.steps.values()) == ['yes', 'no', 'no', 'yes']
    assert 'no gradient reaches rpn_head.rpn_reg.weight' in attempt.reason


@pytest.mark.slow
def test_nan_is_caught(faster_rcnn):
    model = faster_rcnn(dict(type='KLRPNHead'))
    model['roi_head']['bbox_head']['loss_cls']['loss_weight'] = float('nan')
    attempt = sweep.attempt(model)
    assert attempt.reason.count('the loss is not finite') == 2


def test_carafe_is_a_weighted_sum_of_a_window():
    n, c, h, w, size, groups, scale = 2, 4, 3, 5, 3, 2, 2
    features = torch.randn(n, c, h, w)
    masks = torch.rand(n, groups * size**2, h * scale, w * scale)
    out = carafe(features, masks, size, groups, scale)
    padded = torch.nn.functional.pad(features, (1, 1, 1, 1))
    for channel in range(c):
        group = channel // (c // groups)
        for y in range(h * scale):
            for x in range(w * scale):
                top, left = y // scale, x // scale
                window = padded[
                    :, channel, top : top + size, left : left + size
                ]
                kernel = masks[:, :, y, x].view(n, groups, size, size)
                expected = (window * kernel[:, group]).sum(dim=(1, 2))
                torch.testing.assert_close(out[:, channel, y, x], expected)
