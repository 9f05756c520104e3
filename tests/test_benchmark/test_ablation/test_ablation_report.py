"""Figures of known ranks, and tables of known figures."""

import json

import numpy as np
import pytest
from scipy import stats

from mmdet_klrpn.benchmark.ablation.figures import recall_figures
from mmdet_klrpn.benchmark.ablation.outcome import Outcomes
from mmdet_klrpn.benchmark.ablation.report import (
    comparison_table,
    to_markdown,
    write_report,
)
from mmdet_klrpn.benchmark.recall import NOT_FOUND, ObjectRanks

PLAN = """
title: Made up
work_dir: w
seeds: 3
reference: a
features: [{name: f, config: c.py}, {name: g, config: c.py}]
questions:
  - question: First?
    reason: It is the better one.
    rows: [{name: a}, {name: b, lr: 0.1}]
  - question: Second?
    rows: [{name: c}, {name: d, lr: 0.2}]
"""
AR = {'a': [0.2, 0.3, 0.4], 'b': [0.25, 0.36, 0.44], 'd': [0.2, 0.5]}


def test_figures_by_hand():
    none = NOT_FOUND
    objects = ObjectRanks(
        # At two IoU thresholds.
        np.array([[0, none], [9, 10], [99, 250], [none, none]]),
        np.array([8.0, 30.0, 20.0, 50.0]),
        np.array(['x', 'y', 'y', 'y']),
        np.array([1, 2, 3, 4]),
    )
    figures = recall_figures(objects)
    at_10, at_100 = figures['AR@10'], figures['AR@100']
    assert at_10['all'] == (1 + 1 + 0 + 0) / 8
    assert at_100['all'] == (1 + 2 + 1 + 0) / 8
    assert figures['AR@300']['all'] == (1 + 2 + 2 + 0) / 8
    assert at_100['class mean'] == pytest.approx((1 / 2 + 3 / 6) / 2)
    assert figures['AR@300']['class: y'] == pytest.approx(4 / 6)
    quarters = [at_100[f'q{i}'] for i in (1, 2, 3, 4)]
    assert quarters == [0.5, 0.5, 1.0, 0.0]


def write_result(folder, key, seed, value):
    groups = {'all': value, 'q1': value / 2, 'class mean': value / 4}
    path = folder / 'results' / key / f'seed{seed}.json'
    path.parent.mkdir(parents=True, exist_ok=True)
    optimizer = dict(type='AdamW', lr=0.1 * seed, weight_decay=0.01)
    wrapper = dict(optimizer=optimizer, clip_grad=dict(max_norm=3))
    result = dict(
        seed=seed,
        settings=dict(optim_wrapper=wrapper),
        figures={'AR@10': groups, 'AR@100': groups},
        training_s=10,
        environment=dict(torch='2', commit=f'c{seed % 2}'),
    )
    path.write_text(json.dumps(result))


@pytest.fixture
def measured(tmp_path):
    """A folder of results of one of the features, of two classes."""
    (tmp_path / 'plan.yaml').write_text(PLAN)
    for key, values in AR.items():
        for seed, value in enumerate(values):
            write_result(tmp_path, f'f-{key}', seed, value)
    rows = {
        question: {
            row: {f: f'{f}-{"a" if row == "c" else row}' for f in 'fg'}
            for row in rows
        }
        for question, rows in (('First?', 'ab'), ('Second?', 'cd'))
    }
    keys = dict(features=dict(f='f', g='g'), rows=rows)
    (tmp_path / 'keys.json').write_text(json.dumps(keys))
    (tmp_path / 'features').mkdir()
    described = dict(
        **dict(classes=['x', 'y'], epochs=2, train_images=7, seconds=61),
        **dict(test_images=3, test_objects=9),
    )
    (tmp_path / 'features/f.json').write_text(json.dumps(described))
    return tmp_path


def test_differences_are_paired_by_seed(measured):
    outcomes = Outcomes(measured)
    first, second = (
        comparison_table(outcomes.comparisons(question)[0], 3)
        for question in outcomes.plan.questions
    )
    paired = 100 * np.subtract(AR['b'], AR['a'])
    half = stats.t.ppf(0.975, 2) * paired.std(ddof=1) / np.sqrt(3)
    assert half < paired.mean()
    shown = f'({paired.mean():+.1f}** ± {half:.1f})'.replace('(', '(**', 1)
    assert list(first.header) == [
        *('', 'AR@10', 'AR@100', 'class mean', 'smallest quarter'),
    ]
    assert first.rows[0] == ['a (reference)', '30.0', '30.0', '7.5', '15.0']
    assert first.rows[1][:3] == ['b'] + [f'35.0 {shown}'] * 2

    # Of another question, and under another name; d has but two seeds, +0
    # and +20.
    assert [row[0] for row in second.rows] == [
        *('a (reference)', 'c (the same)', 'd (2 of 3 seeds)'),
    ]
    assert second.rows[1][1:] == second.rows[0][1:]
    half = stats.t.ppf(0.975, 1) * 10
    assert second.rows[2][1] == f'35.0 (+10.0 ± {half:.1f})'


def test_the_page_says_what_it_is(measured):
    text = to_markdown(Outcomes(measured))
    assert text.startswith('# Made up\n\nHeads trained alone.')
    assert '## First?\n\n### f\n' in text
    assert 'It is the better one.' in text
    assert '| commit | c0, c1 |' in text
    assert '| optimizer | AdamW, weight_decay 0.01, max_norm 3 |' in text
    assert '8 results over 3 seeds. A training takes 10 s of' in text
    # Features that are not there yet are named without figures.
    assert '### g' not in text
    assert '| g | `c.py` |' in text


def test_every_value_is_kept(measured):
    _, path = write_report(Outcomes(measured), measured / 'out')
    found = json.loads(path.read_text())
    row = found['questions'][0]['comparisons'][0]['rows'][1]
    assert (row['name'], row['lr'], row['reference']) == ('b', 0.1, False)
    figure = row['figures']['AR@100, q1']
    assert figure['values'] == pytest.approx([12.5, 18, 22])
    assert figure['difference'] == pytest.approx(2.5)
    assert np.mean(figure['over_seeds']) == pytest.approx(2.5)


def test_nothing_to_report(measured):
    (measured / 'keys.json').unlink()
    with pytest.raises(FileNotFoundError, match='run the ablation first'):
        Outcomes(measured)
