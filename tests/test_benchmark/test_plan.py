"""Plans that are read, and plans that are refused."""

import pytest
from conftest import ROOT

from mmdet_klrpn.benchmark.plan import (
    METRICS,
    Comparison,
    Detector,
    Preparation,
    load_plan,
    slug,
)

GOOD = """
title: t
work_dir: w
seeds: 2
detectors:
  RPN: a.py
  KL-RPN: {config: b.py, cfg_options: {lr: 1e-3}}
  Zoo: {config: a.py, checkpoint: a.pth}
compare: [[RPN, KL-RPN], {pair: [RPN, Zoo], allow: [model.roi_head]}]
"""


def load(tmp_path, text):
    path = tmp_path / 'plan.yaml'
    path.write_text(text)
    return load_plan(path)


def test_a_plan_is_read(tmp_path):
    steps = 'prepare: [{creates: f, run: c}]\nmetric: AR_S@100\nsplit: val\n'
    plan = load(tmp_path, GOOD + steps)
    assert plan.detectors == (
        Detector('RPN', 'a.py'),
        Detector('KL-RPN', 'b.py', cfg_options={'lr': 0.001}),
        Detector('Zoo', 'a.py', 'a.pth'),
    )
    assert plan.compare == (
        Comparison(('RPN', 'KL-RPN')),
        Comparison(('RPN', 'Zoo'), ('model.roi_head',)),
    )
    assert plan.prepare == (
        Preparation((tmp_path / 'f').relative_to(tmp_path), 'c'),
    )
    assert (plan.metric, plan.split, plan.note) == ('AR_S@100', 'val', '')
    assert [len(plan.seeds_of(d)) for d in plan.detectors] == [2, 2, 1]
    default = load(tmp_path, GOOD)
    assert (default.metric, default.split, default.prepare) == (
        'AP',
        'test',
        (),
    )


@pytest.mark.parametrize(
    ('old', 'new', 'message'),
    [
        ('seeds: 2', 'seed: 2', r'unknown seed \(did you mean seeds\?\); its'),
        ('seeds: 2', '', 'missing seeds'),
        ('seeds: 2', 'seeds: 0', 'seeds must be a number >= 1, but got 0'),
        ('seeds: 2', 'seeds: 2\nseeds: 3', "'seeds' is given twice"),
        ('  Zoo', '  RPN', "'RPN' is given twice"),
        ('title: t', 'title: [t]', r"title must be text.* but got \['t'\]"),
        ('title: t', 'title: t\nnote: 3', 'note must be text'),
        ('title: t', 'title: t\nmetric: AR', 'metric must be one of AP, AP50'),
        (
            'title: t',
            'title: t\nmetric: AR@10O',
            r"'AR@10O' \(did you mean AR",
        ),
        ('title: t', 'title: t\nsplit: tset', r'\(did you mean test\?\)'),
        ('title: t', 'title: t\nprepare: [{run: x}]', 'missing creates'),
        ('title: t', 'title: "t', 'is no YAML'),
        ('RPN: a.py', 'RPN: 3', 'detectors.RPN must be a mapping, but got 3'),
        ('RPN: a.py', 'RPN: {config: 3}', 'detectors.RPN.config must be text'),
        (
            'RPN: a.py',
            'RPN: {cofnig: a}',
            r'unknown cofnig \(did you mean con',
        ),
        ('  Zoo', '  1', 'detectors: a key must be text in quotes, but got 1'),
        ('  Zoo', '  rpn', "folder would be 'rpn', which is that of RPN too"),
        ('  Zoo', '  +', "folder would be '', which is no name"),
        ('1e-3}', '1}, x: 1', 'detectors.KL-RPN: unknown x'),
        ('{lr: 1e-3}', '[lr]', 'cfg_options must be a mapping'),
        ('{config: a.py, c', '{name: x, c', 'Zoo: unknown name; its keys'),
        ('a.pth', '[]', 'detectors.Zoo.checkpoint must be text'),
        ('[[RPN, KL-RPN]', '[[RPN, KLRPN]', r'\(did you mean KL-RPN\?\)'),
        ('[[RPN, KL-RPN]', '[[RPN, RPN]', 'must be two detectors that no oth'),
        ('[[RPN, KL-RPN]', '[[Zoo, RPN]', r'compare\[1\] must be two'),
        ('[[RPN, KL-RPN]', '[[RPN]', r'compare\[0\] must be two'),
        ('allow: [model.', 'alow: [model.', r'did you mean allow'),
        ('[model.roi_head]', 'x', r'compare\[1\].allow must be a list'),
        (GOOD, '3', 'must be a mapping'),
        (GOOD[GOOD.index('  RPN') :], ' {}\ncompare: []', 'one or more'),
    ],
)
def test_a_bad_plan_is_refused(tmp_path, old, new, message):
    assert old in GOOD
    with pytest.raises(ValueError, match=message):
        load(tmp_path, GOOD.replace(old, new, 1))


def test_metrics_are_those_of_the_columns():
    assert {'AP', 'AP75', 'AP_S', 'AP@10', 'AR@1000', 'AR_L@30'} <= set(
        METRICS
    )


def test_plans_of_the_package_are_found_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    by_path = load_plan(ROOT / 'benchmarks/coco_paper.yaml')
    assert load_plan('coco_paper') == load_plan('coco_paper.yaml') == by_path
    for name in ('coco_paprika', 'benchmarks/coco_paper.yaml'):
        with pytest.raises(FileNotFoundError, match='no such plan'):
            load_plan(name)
    # A file of the user's comes first.
    (tmp_path / 'coco_paper.yaml').write_text(GOOD)
    assert load_plan('coco_paper.yaml').title == 't'


def test_slugs():
    assert slug('RPN, top-9') == 'rpn-top-9'
