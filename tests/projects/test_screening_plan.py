"""Plans of screenings, and what is refused before anything is trained."""

from pathlib import Path

import pytest
from mmengine.config import Config
from screening.plan import load_screening
from screening.study import cells_of, change, code_digest
from screening.training import build_head
from study import STUDY, study_config

GOOD = """
title: t
work_dir: w
seeds: 2
reference: a
features: {f: {config: c.py}}
questions:
  q:
    rows: {a: {}, b: {lr: 1.0e-3}}
  r:
    reference: b
    rows: {c: {rpn_head.type: KLRPNHead}}
"""


def load(tmp_path, text):
    path = tmp_path / 'plan.yaml'
    path.write_text(text)
    return load_screening(path)


@pytest.fixture(scope='module')
def config():
    name = 'faster-rcnn_mobilenetv2_24e_trees.py'
    return Config.fromfile(study_config(name))


def test_a_plan(tmp_path):
    plan = load(tmp_path, GOOD)
    assert plan.rows_of('q') == {'a': {}, 'b': {'lr': 1e-3}}
    assert list(plan.rows_of('r')) == ['b', 'c']
    assert plan.features['f'].config == 'c.py'
    with pytest.raises(FileNotFoundError, match=r'c\.py'):
        cells_of(plan)


@pytest.mark.parametrize(
    ('old', 'new', 'message'),
    [
        ('seeds: 2', 'seed: 2', 'unknown seed'),
        ('seeds: 2', 'seeds: 0', 'seeds must be a number >= 1, but got 0'),
        ('seeds: 2', 'seeds: 2\nsplit: x', 'split must be one of test, val'),
        ('reference: a', '', 'missing reference'),
        ('reference: a', 'reference: x', "reference 'x' names no row"),
        ('config: c.py', 'conf: c.py', 'features.f: unknown conf'),
        ('{f: {config: c.py}}', '[f]', 'features must be a mapping'),
        ('{a: {}', '{a: 3', 'questions.q.rows.a must be a mapping'),
        ('{c: {', '{a: {x: y}, c: {', ''),
        (GOOD, 'a: [', 'is no YAML'),
    ],
)
def test_a_bad_plan_is_refused(tmp_path, old, new, message):
    text = GOOD.replace(old, new)
    if not message:  # The name of the reference is that of other settings.
        text += '  s:\n    rows: {d: {}}\n'
        message = "s: reference 'a' names rows that differ"
    with pytest.raises(ValueError, match=message):
        load(tmp_path, text)


@pytest.mark.parametrize('name', ['screening.yaml', 'missing_labels.yaml'])
def test_every_row_of_the_plans_fits(config, name):
    plan = load_screening(STUDY / 'plans' / name)
    for features in plan.features.values():
        assert study_config(features.config.split('/')[-1])
    heads = []
    for question in plan.questions:
        for settings in plan.rows_of(question).values():
            # Twice: the plan is left as it is.
            one, two = change(config, settings), change(config, settings)
            assert one.model.rpn_head == two.model.rpn_head
            assert '_delete_' not in str(one.model.rpn_head)
            heads.append(one.model.rpn_head.type)
    assert set(heads) == {'KLRPNHead', 'RPNHead'}


def test_a_row_changes_a_config(config):
    settings = {
        'rpn_head.type': 'KLRPNHead',
        'rpn_head.neg_std': 2.0,
        'rpn_head.loss_bbox.loss_weight': 3.0,
        'train_cfg.sampler.num': 64,
        'test_cfg.nms.iou_threshold': 0.6,
        'lr': 2e-3,
    }
    found = change(config, settings)
    head = build_head(found)
    assert (head.neg_std, head.sampler.num) == (2.0, 64)
    assert head.test_cfg.nms.iou_threshold == 0.6
    assert head.loss_bbox.loss_weight == 3.0
    assert found.optim_wrapper.optimizer.lr == 2e-3
    assert config.optim_wrapper.optimizer.lr == 5e-4
    assert config.model.rpn_head.type == 'RPNHead'


@pytest.fixture
def keys(tmp_path):
    """Hashes of the training and the result of a row, as a function."""
    name = 'faster-rcnn_mobilenetv2_24e_trees.py'
    text = GOOD.replace('c.py', str(study_config(name)))

    def find(row='{a: {}'):
        cell = cells_of(load(tmp_path, text.replace('{a: {}', row)))[0]
        return cell.training, cell.folder

    return find


def test_what_is_the_same_has_the_same_key(keys):
    kl = '{a: {rpn_head.type: KLRPNHead'
    plain = keys(f'{kl}}}')
    default = 'rpn_head.pos_topk: 9, rpn_head.num_classes: 1'
    assert keys(f'{kl}, {default}}}') == plain
    assert keys(f'{kl}, rpn_head.pos_topk: 8}}')[0] != plain[0]
    assert keys(f'{kl}, lr: 1.0e-4}}')[0] != plain[0]
    nms = keys(f'{kl}, test_cfg.nms.iou_threshold: 0.5}}')
    assert nms[0] == plain[0]
    assert nms[1] != plain[1]


@pytest.mark.parametrize(
    ('added', 'same'), [('# More.', True), ('NEW = 1', False)]
)
def test_a_result_is_of_the_code_that_gave_it(keys, monkeypatch, added, same):
    before, real = keys(), Path.read_text

    def changed(path):
        return real(path) + f'\n{added}\n' * (path.suffix == '.py')

    monkeypatch.setattr(Path, 'read_text', changed)
    code_digest.cache_clear()
    assert (keys() == before) == same
    code_digest.cache_clear()


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        ({'rpn_head.type': 'KLRPNHead', 'rpn_head.neg_std': -1}, 'neg_std'),
        ({'rpn_head.neg_stdd': 1}, 'neg_stdd'),
        ({'rpn_head.type': 'NoHead'}, 'NoHead'),
        ({'train_cfg.sampler.nums': 3}, 'has no model.*sampler.nums'),
        ({'test_cfg.x': 1}, 'the config has no model.test_cfg.rpn.x'),
        ({'head.x': 1}, 'head.x must begin with one of'),
        ({'lr.x': 1}, 'lr.x must begin with one of'),
    ],
)
def test_a_row_that_does_not_fit(config, settings, message):
    with pytest.raises((KeyError, TypeError, ValueError), match=message):
        change(config, settings)


def test_features_that_would_be_random_are_refused(tmp_path):
    fpn = study_config('faster-rcnn_mobilenetv2_fpn_24e_trees.py')
    text = GOOD.replace('c.py', str(fpn))
    with pytest.raises(ValueError, match='f: the features of an untrained'):
        cells_of(load(tmp_path, text))
    text = text.replace(f'{fpn}', f'{fpn}, checkpoint: none.pth')
    with pytest.raises(FileNotFoundError, match='no checkpoint none'):
        cells_of(load(tmp_path, text))
    options = 'cfg_options: {train_cfg: {_delete_: true, max_iters: 9}}'
    with pytest.raises(ValueError, match='must set train_cfg'):
        cells_of(load(tmp_path, text.replace('checkpoint: none.pth', options)))
