"""What would fail after training is refused before it."""

import json
import re
import shutil
from collections import namedtuple

import pytest
import torch
from conftest import write_tiny_config
from mmengine.config import Config

from mmdet_klrpn.benchmark import checks
from mmdet_klrpn.benchmark.checks import check_configs, check_data
from mmdet_klrpn.benchmark.configs import check_comparison, resolve
from mmdet_klrpn.benchmark.plan import (
    Comparison,
    Detector,
    Plan,
    load_plan,
)
from mmdet_klrpn.benchmark.runs import run_of

RPN = {'model.rpn_head.type': 'RPNHead'}
HOOK = 'default_hooks.checkpoint'


@pytest.fixture
def make_plan(tiny_config, tmp_path):
    """Make a plan of KL-RPN's config and of one with other options."""

    def make(options=RPN, config=tiny_config, metric='AP', **fields):
        detectors = (
            Detector('KL-RPN', str(tiny_config)),
            Detector('other', str(config), cfg_options=options, **fields),
        )
        return Plan('t', tmp_path / 'w', detectors, (), 2, metric)

    return make


@pytest.mark.parametrize('name', ['coco_paper', 'coco_r50'])
def test_the_plans_on_coco_need_their_data_alone(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    disk = namedtuple('Disk', 'free')(int(100e9))
    monkeypatch.setattr(shutil, 'disk_usage', lambda path: disk)
    plan = load_plan(name)
    plan = plan._replace(work_dir=tmp_path / 'w')
    configs = check_configs(plan)
    assert list(configs) == [detector.name for detector in plan.detectors]
    # Nothing is allowed that need not be.
    for comparison in plan.compare:
        if comparison.allow:
            for key in comparison.allow:
                others = tuple(k for k in comparison.allow if k != key)
                strict = comparison._replace(allow=others)
                with pytest.raises(ValueError, match=re.escape(key)):
                    check_comparison(strict, plan, configs)
    measured_only = [d for d in plan.detectors if d.checkpoint]
    trained = tuple(d for d in plan.detectors if not d.checkpoint)
    assert len(measured_only) == (name == 'coco_r50')
    with pytest.raises(
        ValueError, match=r'instances_train2017\.json'
    ) as caught:
        check_data(plan._replace(detectors=trained), configs)
    # A problem that all share is told once.
    assert len(str(caught.value).splitlines()) == 3


def test_a_good_plan_passes(make_plan, tmp_path):
    plan = make_plan()
    plan = plan._replace(compare=(Comparison(('other', 'KL-RPN')),))
    configs = check_configs(plan)
    assert configs['other'].model.rpn_head.type == 'RPNHead'
    check_data(plan, configs)
    assert not plan.work_dir.exists()


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'train_cfg': None}, 'neither max_epochs nor max_iters'),
        ({HOOK: None}, f'{HOOK}.*must be .* but {HOOK} is None'),
        ({f'{HOOK}.by_epoch': False}, 'by_epoch must be True, or the last'),
        ({f'{HOOK}.out_dir': 'x'}, f'{HOOK}.out_dir must be None'),
        (
            {f'{HOOK}.save_last': False, f'{HOOK}.interval': 2},
            'save_last must be True',
        ),
        ({'model.rpn_head.pos_std': -1}, 'pos_std must be in'),
        ({'model.rpn_head.topk': 1}, "unexpected keyword argument 'topk'"),
        ({'model': {'_delete_': True, 'type': 'x'}}, 'x is not in'),
        ({}, 'other and KL-RPN: both are the same'),
        ({**RPN, 'optim_wrapper.optimizer.lr': 1}, r'optimizer\.lr is 1 and'),
    ],
)
def test_a_config_that_fails_is_refused(make_plan, options, message):
    plan = make_plan(options)
    plan = plan._replace(compare=(Comparison(('other', 'KL-RPN')),))
    with pytest.raises(ValueError, match=message):
        check_configs(plan)


def test_models_that_cannot_be_measured_are_refused(make_plan):
    for config, message in (
        ('retinanet_r50_fpn_1x_coco.py', 'proposes no regions'),
        ('rpn_r50_fpn_1x_coco.py', 'metric must be an AR'),
        (
            'soft-teacher_faster-rcnn_r50-caffe_fpn_180k_semi-0.1-coco.py',
            'SoftTeacher holds its detector',
        ),
        ('no-such_config.py', 'neither a file nor a config'),
    ):
        with pytest.raises(ValueError, match=f'other: .*{message}'):
            check_configs(make_plan({}, config))
    check_configs(make_plan({}, 'rpn_r50_fpn_1x_coco.py', 'AR@100'))
    guided = make_plan({}, 'ga-faster-rcnn_r50_fpn_1x_coco.py')
    check_configs(guided)
    with pytest.raises(ValueError, match=r'GARPNHead .* not have on a CPU'):
        check_configs(guided, has_gpus=False)


def test_all_problems_are_told_at_once(make_plan):
    plan = make_plan({'model.rpn_head.pos_std': -1, **{HOOK: None}})
    broken = Detector('third', 'no-such_config.py')
    plan = plan._replace(detectors=(*plan.detectors, broken))
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        check_configs(plan)
    lines = str(caught.value).splitlines()
    assert [line.split(':')[0].strip() for line in lines] == [
        'change the plan',
        'other',
        'third',
    ]


def test_checkpoints_must_fit_on_the_disk(make_plan, monkeypatch):
    plan = make_plan()
    model = checks.load_detector(resolve(plan.detectors[1]), None)
    # Of two seeds two checkpoints each: weights, and Adam's two moments.
    needed = 2 * 2 * 12 * sum(p.numel() for p in model.parameters())
    plan = plan._replace(detectors=plan.detectors[1:])
    for free in (needed, needed - 1):
        disk = namedtuple('Disk', 'free')(free)
        monkeypatch.setattr(shutil, 'disk_usage', lambda _, disk=disk: disk)
        if free == needed:
            check_configs(plan)
    with pytest.raises(ValueError, match='checkpoints will need about'):
        check_configs(plan)


def test_a_work_dir_must_be_writable(make_plan, tmp_path):
    (tmp_path / 'file').touch()
    plan = make_plan()._replace(work_dir=tmp_path / 'file' / 'w')
    with pytest.raises(ValueError, match='file cannot be written to'):
        check_configs(plan)


def test_a_run_of_another_config_is_refused(make_plan):
    plan = make_plan()
    folder = run_of(plan.work_dir, plan.detectors[0], 1).folder
    folder.mkdir(parents=True)
    config = Config.fromfile(plan.detectors[1].config)
    config.merge_from_dict({'optim_wrapper.optimizer.lr': 9.0})
    config.dump(folder / 'config.py')
    with pytest.raises(
        ValueError, match=r'KL-RPN: .*seed1 was started .* 9\.0'
    ):
        check_configs(plan)


def other_data(folder, tiny_data, change):
    """A config on a copy of the data whose annotations are changed."""
    shutil.copytree(tiny_data / 'images', folder / 'images')
    content = json.loads((tiny_data / 'annotations.json').read_text())
    change(content)
    (folder / 'annotations.json').write_text(json.dumps(content))
    return write_tiny_config(folder / 'other.py', folder)


def test_data_is_checked(make_plan, tiny_data, tmp_path):
    for i, (change, message) in enumerate(
        (
            (lambda c: c.clear(), 'KeyError|images|categories'),
            (lambda c: c['images'].clear(), 'leaves no image'),
            (
                lambda c: c['categories'][0].update(name='trees'),
                r"no annotation file has the classes 'tree'",
            ),
            (
                lambda c: c['images'][0].update(file_name='none.png'),
                r'none\.png of .* is not there',
            ),
            (lambda c: None, r'it is measured on .* but KL-RPN on'),
        )
    ):
        folder = tmp_path / str(i)
        folder.mkdir()
        plan = make_plan(RPN, other_data(folder, tiny_data, change))
        with pytest.raises(ValueError, match=message):
            check_data(plan, check_configs(plan))


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'test_dataloader': None}, 'needs a test_dataloader and _evaluator'),
        (
            {'test_evaluator': {'_delete_': True, 'type': 'VOCMetric'}},
            'names no ann_file of COCO annotations',
        ),
        (
            {'test_evaluator.metric': 'bbxo'},
            "metric should be one of 'bbox'.*bbxo",
        ),
        (
            {'test_dataloader.dataset.indices': 3},
            'has 8 images .* 3 of these images',
        ),
        ({'train_dataloader.dataset.ann_file': 'x.json'}, r'other: .*x\.json'),
        ({'val_evaluator.ann_file': 'x.json'}, r'other: .*x\.json'),
        ({'load_from': 'x.pth'}, r'load_from: there is no x\.pth'),
        (
            {
                'model.backbone.init_cfg': {
                    '_delete_': True,
                    'type': 'Pretrained',
                    'checkpoint': 'x',
                }
            },
            r'backbone\.init_cfg\.checkpoint: there is no x',
        ),
    ],
)
def test_what_a_config_reads_must_be_there(make_plan, options, message):
    plan = make_plan({**RPN, **options})
    with pytest.raises(ValueError, match=message):
        check_data(plan, check_configs(plan))


def test_the_split_is_that_of_the_plan(make_plan):
    plan = make_plan({**RPN, 'test_dataloader': None})._replace(split='val')
    check_data(plan, check_configs(plan))


def test_checkpoints_must_fit(make_plan, tmp_path, monkeypatch):
    plan = make_plan(RPN)
    model = checks.load_detector(resolve(plan.detectors[1]), None)
    good, bad = tmp_path / 'good.pth', tmp_path / 'bad.pth'
    weights = model.state_dict()
    torch.save(dict(state_dict=weights), good)
    weights.pop('rpn_head.rpn_reg.bias')
    torch.save(dict(state_dict=weights), bad)
    plan = make_plan(RPN, checkpoint=str(good))
    check_data(plan, check_configs(plan))
    for checkpoint, message in (
        (bad, r'lacks rpn_head\.rpn_reg\.bias'),
        (tmp_path / 'none.pth', r'none\.pth cannot be read: .*file that is'),
        # Nothing listens at that port.
        ('http://127.0.0.1:9/x.pth', 'cannot be read: .*; download it, and'),
    ):
        plan = make_plan(RPN, checkpoint=str(checkpoint))
        with pytest.raises(ValueError, match=message):
            check_data(plan, check_configs(plan))
