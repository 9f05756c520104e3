"""Plans, pairs and what is refused."""

import pytest
from conftest import ROOT
from mmdet.registry import MODELS, TASK_UTILS
from mmengine.config import Config, ConfigDict
from mmengine.registry import init_default_scope

from mmdet_klrpn.benchmark.comparison import (
    check_namesakes,
    check_pair,
    check_run,
    differences,
)
from mmdet_klrpn.benchmark.plan import Pair, check_files, load_plan
from mmdet_klrpn.models import KLRPNHead

GOOD = """
title: t
work_dir: w
seeds: 2
pairs: [{name: n, baseline: a.py, kl_rpn: b.py}]
"""


def write(tmp_path, text):
    path = tmp_path / 'plan.yaml'
    path.write_text(text)
    return path


@pytest.mark.parametrize('name', ['trees', 'stamps'])
def test_the_plans_compare_heads_alone(name, monkeypatch):
    monkeypatch.chdir(ROOT)
    plan = load_plan(ROOT / f'benchmarks/{name}.yaml')
    check_files(plan)
    for pair in plan.pairs:
        keys = {difference.key for difference in check_pair(pair)}
        tuned = '_topk' in pair.baseline.stem
        heads = {key for key in keys if key.startswith('model.rpn_head.')}
        names = {key.split('.')[2] for key in heads}
        assert names == ({'loss_bbox', 'type'} if tuned else {'type'})
        positives = 'model.train_cfg.rpn.assigner'
        assert pair.allow == ((positives,) if tuned else ())
        others = {f'{positives}.{key}' for key in ('topk', 'type')}
        assert keys - heads == (others if tuned else set())
        expected = pair.kl_rpn.name.replace(
            '_kl-rpn', '_topk' if tuned else ''
        )
        assert pair.baseline.name == expected


def test_the_stronger_baseline_has_the_positives_and_boxes_of_kl_rpn():
    folder = ROOT / 'configs/faster_rcnn'
    init_default_scope('mmdet')
    for path in folder.glob('*_topk_*.py'):
        model = Config.fromfile(path).model
        train_cfg = model.train_cfg.rpn
        plain = dict(train_cfg.assigner, type='MaxIoUAssigner')
        plain.pop('topk')
        kl_rpn = KLRPNHead(
            1,
            anchor_generator=model.rpn_head.anchor_generator,
            train_cfg=ConfigDict(train_cfg, assigner=plain),
        )
        loss = MODELS.build(model.rpn_head.loss_bbox)
        assert vars(loss) == vars(kl_rpn.loss_mean)
        own, other = (
            {k: v for k, v in vars(x).items() if k != 'iou_calculator'}
            for x in (TASK_UTILS.build(train_cfg.assigner), kl_rpn.assigner)
        )
        assert own == other
        assert own['topk'] == 9


def test_defaults(tmp_path):
    plan = load_plan(write(tmp_path, GOOD))
    assert plan.pairs[0].allow == ()
    assert plan.prepare == ()


@pytest.mark.parametrize(
    ('old', 'new', 'message'),
    [
        ('seeds: 2', 'seed: 2', 'unknown seed'),
        ('seeds: 2', '', 'missing seeds'),
        ('seeds: 2', 'seeds: 0', 'seeds must be a number >= 1, but got 0'),
        ('seeds: 2', 'seeds: x', "but got 'x'"),
        ('name: n', 'nam: n', r'pairs\[0\]: unknown nam'),
        ('b.py}', 'b.py, allow: x}', r'pairs\[0\].allow must be a list'),
        ('[{name', '[3, {name', r'pairs\[0\] must be a mapping, but got 3'),
        ('title: t', 'title: t\nprepare: [{run: x}]', 'missing creates'),
        ('}]', '}, {name: n, baseline: a, kl_rpn: b}]', 'of their own'),
        (GOOD, '3', 'must be a mapping'),
    ],
)
def test_a_bad_plan_is_refused(tmp_path, old, new, message):
    path = write(tmp_path, GOOD.replace(old, new))
    with pytest.raises(ValueError, match=message):
        load_plan(path)


def test_missing_files_are_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match='no such plan'):
        load_plan(tmp_path / 'none.yaml')
    with pytest.raises(FileNotFoundError, match=r'a\.py, b\.py'):
        check_files(load_plan(write(tmp_path, GOOD)))


def test_two_configs_of_one_file_name_are_refused(tmp_path):
    pairs = """pairs:
- {name: n, baseline: x/a.py, kl_rpn: x/b.py}
- {name: m, baseline: x/../x/a.py, kl_rpn: y/a.py}
"""
    text = GOOD.replace(GOOD[GOOD.index('pairs') :], pairs)
    with pytest.raises(ValueError, match=r'runs of x/a\.py and y/a\.py would'):
        load_plan(write(tmp_path, text))
    # A baseline may be that of several pairs.
    plan = load_plan(write(tmp_path, text.replace('y/a.py', 'y/c.py')))
    assert len(plan.pairs) == 2


def test_namesakes_are_of_one_detector(tmp_path):
    paths = [tmp_path / name for name in ('a.py', 'b.py', 'c.py')]
    for path, lr in zip(paths, (0.1, 0.1, 0.2)):
        path.write_text(f"lr = {lr}\nwork_dir = '{path.stem}'\n")
    first, seed, other = map(str, paths)
    check_namesakes([('x', first), ('x', seed), ('y', other)])
    with pytest.raises(ValueError, match=r'both called x.*lr: 0\.1 -> 0\.2'):
        check_namesakes([('x', first), ('y', other), ('x', other)])


def test_differences():
    first = dict(a=1, b=[1, dict(c=2)], d=None, e=(1, 2), h=[])
    second = dict(a=1, b=[1, dict(c=3), 4], e=[1, 2], f=dict(g=0), h=[])
    assert [tuple(d) for d in differences(first, second)] == [
        ('b.1.c', 2, 3),
        ('b.2', '(absent)', 4),
        ('f.g', '(absent)', 0),
    ]


def make_pair(tmp_path, baseline, kl_rpn, allow=()):
    paths = tmp_path / 'a.py', tmp_path / 'b.py'
    for path, text in zip(paths, (baseline, kl_rpn)):
        path.write_text(text)
    return Pair('n', *paths, allow)


HEAD = "model = dict(rpn_head=dict(type='{}'), rpn_head2=1)\n"


def test_a_pair_differs_in_its_rpn_head_alone(tmp_path):
    heads = HEAD.format('RPNHead'), HEAD.format('KLRPNHead')
    assert len(check_pair(make_pair(tmp_path, *heads))) == 1
    with pytest.raises(ValueError, match='both configs are the same'):
        check_pair(make_pair(tmp_path, heads[0], heads[0]))

    other = heads[1] + 'train_dataloader = dict(batch_size=4)\n'
    message = r"batch_size: '\(absent\)' -> 4"
    with pytest.raises(ValueError, match=message):
        check_pair(make_pair(tmp_path, heads[0], other))
    check_pair(make_pair(tmp_path, heads[0], other, ('train_dataloader',)))
    # Neither is a key that merely begins alike.
    with pytest.raises(ValueError, match='rpn_head2: 1 -> 2'):
        check_pair(
            make_pair(tmp_path, heads[0], heads[1].replace('2=1', '2=2'))
        )


def test_a_run_of_another_config_is_refused(tmp_path):
    config = tmp_path / 'c.py'
    config.write_text('lr = 0.1\nrandomness = dict(seed=0)\nx = (1, 2)\n')
    dumped = Config.fromfile(config)
    dumped.merge_from_dict(
        dict(launcher='none', work_dir='w', resume=True, load_from=None)
    )
    dumped.randomness.seed = 3
    folder = tmp_path / 'seed3'
    folder.mkdir()
    dumped.dump(folder / 'c.py')
    check_run(config, folder / 'c.py', 3)
    with pytest.raises(ValueError, match=r'seed: 3 -> 2'):
        check_run(config, folder / 'c.py', 2)
    config.write_text('lr = 0.2\nrandomness = dict(seed=0)\nx = (1, 2)\n')
    with pytest.raises(ValueError, match=r'lr: 0.1 -> 0.2'):
        check_run(config, folder / 'c.py', 3)
