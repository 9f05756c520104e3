"""The written config is its parent but for the head, or there is none."""

import json
import sys

import pytest
from conftest import ROOT, load_tool, run, without_scope
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner

from mmdet_klrpn.evaluation import ProposalMetric
from mmdet_klrpn.utils.conversion import mmdet_configs, resolve_config
from mmdet_klrpn.utils.inheriting_config import render

to_kl_rpn = load_tool('tools/misc/to_kl_rpn.py')
IMPORTS = dict(imports=['mmdet_klrpn'], allow_failed_imports=False)


def written(name, out):
    """The written config and its parent, as dicts."""
    to_kl_rpn.write(str(name), out)
    configs = (Config.fromfile(out), Config.fromfile(resolve_config(name)))
    return [without_scope(config.to_dict()) for config in configs]


@pytest.mark.parametrize(
    ('name', 'keys'),
    [
        ('mask-rcnn_r50_fpn_1x_coco.py', []),
        ('cascade_rcnn/cascade-mask-rcnn_r50_fpn_1x_coco.py', []),
        ('mmdet::tridentnet/tridentnet_r50-caffe_1x_coco.py', []),
        ('panoptic-fpn_r50_fpn_1x_coco.py', []),
        ('gn+ws/mask-rcnn_r50_fpn_gn-ws-all_2x_coco.py', []),
        (
            'soft-teacher_faster-rcnn_r50-caffe_fpn_180k_semi-0.1-coco.py',
            ['detector'],
        ),
        ('qdtrack_faster-rcnn_r50_fpn_4e_base.py', ['detector']),
        (
            'deepsort_faster-rcnn_r50_fpn_8xb2-4e_mot17halftrain_'
            'test-mot17halfval.py',
            ['detector'],
        ),
    ],
)
def test_differs_from_mmdet_s_in_the_head_alone(name, keys, tmp_path):
    out = tmp_path / 'kl-rpn.py'
    ours, parent = written(name, out)
    assert len(out.read_text().splitlines()) == 3
    assert ours.pop('custom_imports') == IMPORTS
    parent.pop('custom_imports', None)
    head = ours['model']
    for key in [*keys, 'rpn_head']:
        head = head[key]
    assert head['type'] == 'KLRPNHead'
    head['type'] = 'RPNHead'
    assert ours == parent


def test_text_is_that_of_the_configs_here(tmp_path):
    for name in ('faster-rcnn_r50_fpn', 'mask-rcnn_r101_fpn'):
        out = tmp_path / f'{name}.py'
        to_kl_rpn.write(f'{name}_1x_coco.py', out)
        ready = ROOT / f'configs/kl_rpn/{name}_kl-rpn_1x_coco.py'
        assert out.read_text() == ready.read_text()


def test_rpn_detector_gets_a_metric_that_works(tmp_path):
    ours, parent = written('rpn_r50_fpn_1x_coco.py', tmp_path / 'out.py')
    ready = ROOT / 'configs/kl_rpn/rpn_r50_fpn_kl-rpn_1x_coco.py'
    assert ours == without_scope(Config.fromfile(ready).to_dict())
    for split in ('val_evaluator', 'test_evaluator'):
        assert parent[split]['metric'] == 'proposal_fast'
        assert ours[split]['type'] == 'ProposalMetric'


COCO = "dict(type='CocoMetric', ann_file=FILE, classwise=True, {})"
FAST = COCO.format("metric='proposal_fast', proposal_nums=(7, 9)")
BOXES = COCO.format("metric='bbox', iou_thrs=[0.5]")


@pytest.mark.parametrize(
    ('evaluator', 'expected'),
    [
        (FAST, [('ProposalMetric', [7, 9])]),
        (
            COCO.format("metric=['proposal_fast'], outfile_prefix='x'"),
            [('ProposalMetric', [100, 300, 1000])],
        ),
        (
            COCO.format("metric=['bbox', 'proposal_fast', 'segm']"),
            [
                ('CocoMetric', ['bbox', 'segm']),
                ('ProposalMetric', [100, 300, 1000]),
            ],
        ),
        (
            f'[{BOXES}, {FAST}]',
            [('CocoMetric', ['bbox']), ('ProposalMetric', [7, 9])],
        ),
        (f'({FAST},)', [('ProposalMetric', [7, 9])]),
        (
            f"dict(type='Evaluator', metrics=({FAST}, {BOXES}))",
            [('ProposalMetric', [7, 9]), ('CocoMetric', ['bbox'])],
        ),
        (f'dict(metrics={FAST})', [('ProposalMetric', [7, 9])]),
    ],
)
def test_evaluators_of_any_form_are_converted(evaluator, expected, tmp_path):
    ann_file = tmp_path / 'file.json'
    ann_file.write_text(json.dumps(dict(images=[], categories=[])))
    parent, out = tmp_path / 'parent.py', tmp_path / 'out.py'
    parent.write_text(
        f"FILE = '{ann_file}'\nval_evaluator = {evaluator}\n"
        'test_evaluator = val_evaluator\n'
        "model = dict(type='RPN', rpn_head=dict(type='RPNHead', "
        'in_channels=8))\n'
    )
    to_kl_rpn.write(str(parent), out)
    config = Config.fromfile(out)
    assert out.read_text().count('fails on numpy') == 1
    for split in ('val_evaluator', 'test_evaluator'):
        with DefaultScope.overwrite_default_scope('mmdet'):
            built = Runner.build_evaluator(None, config[split])
        found = [
            (
                type(metric).__name__,
                metric.proposal_nums
                if isinstance(metric, ProposalMetric)
                else metric.metrics,
            )
            for metric in built.metrics
        ]
        assert found == expected


@pytest.mark.parametrize(
    'evaluator',
    [
        'None',
        BOXES,
        f'[{BOXES}]',
        f'dict(metrics=({BOXES},))',
        COCO.format(
            "metric='proposal_fast', format_only=True, outfile_prefix='x'"
        ),
    ],
)
def test_other_evaluators_stay(evaluator, tmp_path):
    parent, out = tmp_path / 'parent.py', tmp_path / 'out.py'
    parent.write_text(
        f"FILE = 'file.json'\nval_evaluator = {evaluator}\n"
        "model = dict(type='RPN', rpn_head=dict(type='RPNHead', "
        'in_channels=8))\n'
    )
    to_kl_rpn.write(str(parent), out)
    assert 'evaluator' not in out.read_text()


def test_text_of_any_value_is_its_source():
    value = dict(
        a=[dict(b=(1,), c={'./d': dict(e=None)}), {'class': 2, 3: []}]
    )
    found = {}
    exec(render(value), found)
    assert found['a'] == value['a']


def test_own_config_is_inherited_by_a_relative_path(tmp_path):
    (tmp_path / 'mine').mkdir()
    parent = tmp_path / 'mine' / 'detector.py'
    parent.write_text(
        "_base_ = 'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'\n"
        "custom_imports = dict(imports='json', allow_failed_imports=True)\n"
        'model = dict(rpn_head=dict(feat_channels=64))\n'
    )
    out = tmp_path / 'new' / 'kl-rpn.py'
    to_kl_rpn.write(str(parent), out)
    assert out.read_text().startswith("_base_ = '../mine/detector.py'\n")
    config = Config.fromfile(out)
    assert config.model.rpn_head.type == 'KLRPNHead'
    assert config.model.rpn_head.feat_channels == 64
    assert config.custom_imports == dict(
        imports=['json', 'mmdet_klrpn'], allow_failed_imports=True
    )


def test_imports_of_this_package_are_not_repeated(tmp_path):
    parent = tmp_path / 'parent.py'
    parent.write_text(
        "_base_ = 'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'\n"
        "custom_imports = dict(imports=['mmdet_klrpn'])\n"
    )
    to_kl_rpn.write(str(parent), tmp_path / 'out.py')
    assert (tmp_path / 'out.py').read_text() == (
        "_base_ = 'parent.py'\nmodel = dict(rpn_head=dict(type='KLRPNHead'))\n"
    )


def test_path_into_mmdet_is_inherited_by_name(tmp_path):
    name = 'htc/htc_r50_fpn_1x_coco.py'
    to_kl_rpn.write(str(mmdet_configs() / name), tmp_path / 'out.py')
    text = (tmp_path / 'out.py').read_text()
    assert text.startswith(f"_base_ = 'mmdet::{name}'\n")


@pytest.mark.parametrize(
    ('name', 'reason'),
    [
        ('ga-faster-rcnn_r50_fpn_1x_coco.py', 'guided anchoring predicts'),
        ('ga-rpn_r50_fpn_1x_coco.py', 'GARPNHead, not RPNHead'),
        ('cascade-rpn_faster-rcnn_r50-caffe_fpn_1x_coco.py', 'in stages'),
        ('sparse-rcnn_r50_fpn_1x_coco.py', 'EmbeddingRPNHead, not RPNHead'),
        ('queryinst_r50_fpn_1x_coco.py', 'learned, without anchors'),
        ('retinanet_r50_fpn_1x_coco.py', 'has no rpn_head'),
        ('fast-rcnn_r50_fpn_1x_coco.py', 'its proposals from elsewhere'),
        (
            'legacy_1.x/faster-rcnn_r50_fpn_1x_coco_v1.py',
            "must be a DeltaXYWHBBoxCoder: .* got 'LegacyDeltaXYWHBBoxCoder'",
        ),
        ('no-such-config.py', 'neither a file nor a config in'),
        ('override_category.py', 'several configs in'),
    ],
)
def test_refuses_and_writes_nothing(name, reason, tmp_path):
    out = tmp_path / 'new' / 'out.py'
    with pytest.raises((ValueError, FileNotFoundError), match=reason):
        to_kl_rpn.write(name, out)
    assert not out.parent.exists()


@pytest.mark.parametrize(
    ('lines', 'reason'),
    [
        (
            'model = dict(rpn_head=dict(reg_decoded_bbox=True))',
            'reg_decoded_bbox must be False',
        ),
        (
            "model = dict(rpn_head=dict(type='StageCascadeRPNHead'))",
            'StageCascadeRPNHead, not RPNHead',
        ),
        (
            'model = dict(teacher=dict(rpn_head=dict()))',
            'several RPN heads: model.rpn_head, model.teacher.rpn_head',
        ),
        (
            "model = dict(rpn_head=dict(type='KLRPNHead'))",
            'it is KL-RPN already',
        ),
    ],
)
def test_refuses_what_a_config_changes(lines, reason, tmp_path):
    parent = tmp_path / 'parent.py'
    base = 'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'
    parent.write_text(f"_base_ = '{base}'\n{lines}\n")
    with pytest.raises(ValueError, match=reason):
        to_kl_rpn.write(str(parent), tmp_path / 'out.py')
    assert not (tmp_path / 'out.py').exists()


def test_refuses_pure_python_style(tmp_path):
    parent = tmp_path / 'parent.py'
    parent.write_text(
        'from mmdet.models import RPNHead\n'
        'model = dict(rpn_head=dict(type=RPNHead))\n'
    )
    with pytest.raises(ValueError, match='pure Python style'):
        to_kl_rpn.write(str(parent), tmp_path / 'out.py')


def test_keeps_a_file_that_exists(tmp_path):
    out = tmp_path / 'out.py'
    out.write_text('mine')
    with pytest.raises(FileExistsError, match='exists already'):
        to_kl_rpn.write('mask-rcnn_r50_fpn_1x_coco.py', out)
    assert out.read_text() == 'mine'


def said(*command):
    """Output of a command, but for what the fork's mmdet says at import."""
    lines = run(*command).splitlines()
    return [line for line in lines if 'Could not import OneDL' not in line]


@pytest.mark.slow
def test_command_line_refuses_in_a_line(tmp_path):
    tool, out = 'tools/misc/to_kl_rpn.py', tmp_path / 'out.py'
    command = [sys.executable, '-W', 'ignore', tool]
    text = said(*command, 'htc_r50_fpn_1x_coco.py', '--out', out)
    assert text == [f'{out}: htc_r50_fpn_1x_coco.py with KL-RPN']
    name, no = 'ga-rpn_r50_fpn_1x_coco.py', tmp_path / 'no.py'
    # Negated, the command must fail.
    text = said('bash', '-c', f'! {" ".join(command)} {name} --out {no}')
    assert text == [
        'to_kl_rpn.py: model.rpn_head is GARPNHead, not RPNHead: guided '
        'anchoring predicts its anchors'
    ]
    assert not no.exists()
