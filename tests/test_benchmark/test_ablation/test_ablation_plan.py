"""Plans of ablations, and what is refused."""

from pathlib import Path

import pytest
from conftest import ROOT, STUDY
from mmengine.config import Config

from mmdet_klrpn.benchmark.ablation.plan import (
    Row,
    check_files,
    load_ablation,
)
from mmdet_klrpn.benchmark.ablation.settings import (
    build_head,
    code_digest,
    resolve,
)

GOOD = """
title: t
work_dir: w
seeds: 2
reference: a
features: [{name: f, config: c.py}]
questions:
  - question: q
    rows: [{name: a}, {name: b, lr: 1.0e-3}]
  - question: r
    reference: b
    rows: [{name: c, rpn_head: {type: KLRPNHead}}]
"""
CONFIG = STUDY / 'faster-rcnn_mobilenetv2_24e_trees.py'


def load(tmp_path, text):
    path = tmp_path / 'plan.yaml'
    path.write_text(text)
    return load_ablation(path)


@pytest.fixture(scope='module')
def config():
    return Config.fromfile(CONFIG)


def test_a_plan(tmp_path):
    plan = load(tmp_path, GOOD)
    first, second = plan.questions
    assert [row.name for row in first.rows] == ['a', 'b']
    assert plan.reference_of(first) == Row('a')
    assert plan.reference_of(second) == Row('b', lr=1e-3)
    assert plan.features[0].config == Path('c.py')
    with pytest.raises(FileNotFoundError, match=r'c\.py; run from'):
        check_files(plan)


@pytest.mark.parametrize(
    ('old', 'new', 'message'),
    [
        ('seeds: 2', 'seed: 2', 'unknown seed'),
        ('seeds: 2', 'seeds: 0', 'seeds must be a number >= 1, but got 0'),
        ('reference: a', '', 'missing reference'),
        ('reference: a', 'reference: x', "reference 'x' names no row"),
        ('config: c.py', 'conf: c.py', r'features\[0\]: unknown conf'),
        ('[{name: f, config: c.py}]', '[]', 'features must be one or more'),
        ('question: r', 'question: q', 'with names of their own'),
        ('name: b,', 'name: a,', r"rows of 'q' must be one or more"),
        ('1.0e-3', '1e-3', r"rows\[1\].lr must be a number .* but got '1e-3'"),
        ('1.0e-3', '-1.0', 'lr must be a number > 0'),
        ('{type: KLRPNHead}', '3', r'\[0\].rpn_head must be a mapping'),
        (GOOD, 'a: [', 'is no YAML'),
    ],
)
def test_a_bad_plan_is_refused(tmp_path, old, new, message):
    with pytest.raises(ValueError, match=message):
        load(tmp_path, GOOD.replace(old, new))


def test_a_reference_that_could_be_either_row_is_refused(tmp_path):
    text = GOOD.replace('reference: a', 'reference: c')
    load(tmp_path, text)
    text = text.replace('{name: a}', '{name: c}')
    with pytest.raises(ValueError, match=r'b.*rows of different settings'):
        load(
            tmp_path,
            text.replace('name: c, rpn', 'name: b, rpn')
            + """
  - question: s
    rows: [{name: d}]
    reference: b
""",
        )


def test_the_repository_has_a_plan(config):
    plan = load_ablation(ROOT / 'benchmarks/ablation.yaml')
    assert all((ROOT / f.config).is_file() for f in plan.features)
    for question in plan.questions:
        for row in question.rows:
            assert resolve(config, row).key()


def test_a_row_changes_a_config(config):
    row = Row(
        'r',
        {'type': 'KLRPNHead', 'neg_std': 2.0, 'loss_bbox.loss_weight': 3.0},
        {'sampler.num': 64},
        {'nms.iou_threshold': 0.6},
        2e-3,
    )
    settings = resolve(config, row)
    head = build_head(settings)
    assert (head.neg_std, head.sampler.num) == (2.0, 64)
    assert head.test_cfg.nms.iou_threshold == 0.6
    assert head.loss_bbox.loss_weight == 3.0
    assert settings.optim_wrapper['optimizer']['lr'] == 2e-3
    assert config.optim_wrapper.optimizer.lr == 5e-4
    assert config.model.rpn_head.type == 'RPNHead'


def test_what_is_the_same_has_the_same_key(config):
    def keys(*changes):
        settings = resolve(config, Row('r', *changes))
        return settings.training_key(), settings.key()

    plain = keys({'type': 'KLRPNHead'})
    default = build_head(resolve(config, Row('r', {'type': 'KLRPNHead'})))
    spelt = {'type': 'KLRPNHead', 'neg_std': default.neg_std, 'num_classes': 1}
    assert keys(spelt) == plain
    assert keys({'type': 'KLRPNHead', 'neg_std': 1.25})[0] != plain[0]
    nms = keys({'type': 'KLRPNHead'}, {}, {'nms.iou_threshold': 0.5})
    assert nms[0] == plain[0]
    assert nms[1] != plain[1]
    assert keys({}, {}, {}, 1e-4)[0] != keys()[0]


def test_a_result_is_of_the_code_that_gave_it(config, monkeypatch):
    row = Row('r', {'type': 'KLRPNHead'})
    before = resolve(config, row).key(), resolve(config, Row('r')).key()
    real = Path.read_text
    monkeypatch.setattr(
        Path,
        'read_text',
        lambda self: real(self).replace('"""', '"""Words. ', 1) + '# More.\n',
    )
    code_digest.cache_clear()
    assert resolve(config, row).key() == before[0]
    monkeypatch.setattr(
        Path, 'read_text', lambda self: real(self) + '\nNEW = 1\n'
    )
    code_digest.cache_clear()
    assert resolve(config, row).key() != before[0]
    # RPNHead is mmdet's.
    assert resolve(config, Row('r')).key() == before[1]
    monkeypatch.undo()
    code_digest.cache_clear()


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (({'type': 'KLRPNHead', 'neg_std': -1},), 'r: .*neg_std must be'),
        (({'neg_stdd': 1},), 'r: .*neg_stdd'),
        (({'type': 'NoHead'},), 'r: .*NoHead'),
        (({}, {'sampler.nums': 3}), 'the config has no sampler.nums'),
        (({}, {}, {'nms': {'type': 'nms'}, 'x': 1}), 'the config has no x'),
    ],
)
def test_a_row_that_does_not_fit(config, changes, message):
    with pytest.raises(ValueError, match=message):
        resolve(config, Row('r', *changes))
