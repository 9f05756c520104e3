"""A report of runs of which every figure is known."""

import csv
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from scipy import stats
from synthetic_runs import make_scene, make_study

from mmdet_klrpn.benchmark.detection import (
    average_precisions,
    evaluate,
    resampled_precisions,
)
from mmdet_klrpn.benchmark.quantities import COSTS, DASH
from mmdet_klrpn.benchmark.report import write_report
from mmdet_klrpn.benchmark.runs import GROUND_TRUTH, METRICS, stored_plan
from mmdet_klrpn.benchmark.statistics import draw_samples
from mmdet_klrpn.benchmark.summary import summarize
from mmdet_klrpn.benchmark.tables import by_proposals, differences, means
from mmdet_klrpn.benchmark.trade_off import reaches, statement
from mmdet_klrpn.benchmark.words import verdict


@pytest.fixture(scope='module')
def scene():
    return make_scene()


@pytest.fixture
def study(tmp_path, scene):
    return make_study(tmp_path, scene)


def summarized(study, resamples=20):
    (summary,) = summarize(stored_plan([study]), [study], resamples)
    return summary


def change(study, config, seed, **values):
    path = study / config / f'seed{seed}' / METRICS
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_differences_and_intervals(study, scene):
    found = summarized(study).differences['AP']
    by_seed = [0.01, 0.011, 0.012]
    assert found.mean == pytest.approx(0.011)
    expected = stats.t.interval(0.95, 2, 0.011, stats.sem(by_seed))
    np.testing.assert_allclose(found.over_seeds, expected)

    truth, detections = scene
    samples = draw_samples(6, 20)
    drawn = [
        resampled_precisions(evaluate(truth, own), samples)[:, 0]
        for own in (detections, detections[5:])
    ]
    expected = np.percentile(drawn[1] - drawn[0], [2.5, 97.5])
    np.testing.assert_allclose(found.over_images, expected)
    assert average_precisions(evaluate(truth, detections))[0] > 0


def test_tables_show_points_and_dashes(study):
    summary = summarized(study, resamples=0)
    rows = {row[0]: row[1:] for row in differences(summary).rows}
    assert rows['AP'] == ['12.0', '13.1', '**+1.1**', '+0.9 to +1.3', DASH]
    assert rows['AP75'] == ['10.0', '10.0', '+0.0', '+0.0 to +0.0', DASH]
    assert rows['AP L'] == [DASH] * 5
    assert rows['AR@100'][:3] == ['25.0', '25.6', '**+0.5**']
    assert rows['AR L@1000'] == [DASH] * 5
    costs = means('', COSTS, [summary]).rows[0]
    assert costs == [
        'A & B, RPN',
        '2.50',
        '1.00',
        '0.250',
        DASH,
        '12.5',
        '100',
    ]


def test_trade_off(study):
    summary = summarized(study, resamples=0)
    first = reaches(summary)[0]
    assert (first.baseline.number, first.kl_rpn.number) == (10, 10)
    assert 'none is saved' in statement(summary)
    for seed in range(3):
        metrics = json.loads(
            (study / 'b' / f'seed{seed}' / METRICS).read_text()
        )
        better = metrics['by_proposals']
        better['50']['AP'] = 0.2
        change(study, 'b', seed, by_proposals=better)
    text = statement(summarized(study, resamples=0))
    assert (
        "RPN's AP at 300 proposals, 12.0, is reached by KL-RPN with 50, 20.0"
        in text
    )
    assert 'takes 33% less time than with 300' in text
    for seed in range(3):
        for number in better:
            better[number]['AP'] = 0.0
        change(study, 'b', seed, by_proposals=better)
    text = statement(summarized(study, resamples=0))
    assert 'is not reached by KL-RPN at any number' in text
    rows = by_proposals([summary]).rows
    assert rows[0] == [
        'A & B, RPN: AP',
        '2.0',
        '4.0',
        '6.0',
        '8.0',
        '10.0',
        '12.0',
        '14.0',
    ]
    assert rows[1][-1] == '450'


def test_one_seed_prints_no_interval_over_seeds(study):
    for seed in (1, 2):
        (study / 'b' / f'seed{seed}' / METRICS).unlink()
    summary = summarized(study)
    assert summary.seeds == (0,)
    assert summary.differences['AP'].over_seeds is None
    assert 'One seed: there is no interval over seeds.' in summary.notes
    assert 'Left out, as of RPN alone: seed 1, 2.' in summary.notes
    assert 'one seed decides nothing' in verdict(summary)


def test_nothing_measured_is_said(study, tmp_path):
    for path in study.glob(f'*/*/{METRICS}'):
        path.unlink()
    summary = summarized(study)
    assert summary.seeds == ()
    assert verdict(summary) == 'Not measured.'
    files = write_report(stored_plan([study]), [summary], tmp_path / 'out')
    assert 'Not measured.' in files[1].read_text()


def test_other_ground_truth_is_refused(study):
    (study / 'b/seed1' / GROUND_TRUTH).write_bytes(b'other')
    with pytest.raises(ValueError, match=r'b/seed1 was tested on other obj'):
        summarized(study)


def test_a_seed_in_two_folders_is_refused(study):
    with pytest.raises(ValueError, match='a seed 0 is in both'):
        summarize(stored_plan([study]), [study, study], 0)


def test_other_hardware_is_noted(study):
    change(study, 'b', 2, environment=dict(device='B', threads='1', torch='2'))
    change(study, 'a', 1, training=dict(processes='8'))
    notes = ' '.join(summarized(study, resamples=0).notes)
    assert 'several values of device' in notes
    assert (
        'several numbers of processes, and so of images a step: 1, 8' in notes
    )


class Page(HTMLParser):
    """Collects what a page refers to and whether its tags are closed."""

    VOID = {'meta', 'link', 'br', 'img'}

    def __init__(self):
        super().__init__()
        self.open, self.ids, self.links = [], [], []

    def handle_starttag(self, tag, attrs):
        if tag not in self.VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name == 'id':
                self.ids.append(value)
            if name in ('href', 'src', 'xlink:href'):
                self.links.append(value)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_files_of_a_report(study, tmp_path):
    plan = stored_plan([study])
    summaries = summarize(plan, [study], 10)
    files = write_report(plan, summaries, tmp_path / 'out')
    page, markdown, table, values = (path.read_text() for path in files)

    parser = Page()
    parser.feed(page)
    assert parser.open == []
    assert len(parser.ids) == len(set(parser.ids))
    # It needs no other file: all it refers to is in it.
    assert {link[1:] for link in parser.links} <= set(parser.ids)
    assert all(link.startswith('#') for link in parser.links)
    assert not re.search(r'url\((?!#)|@import|<script', page)
    assert page.count('<svg') == 4
    assert 'Squares &lt;and&gt; bushes' in page
    assert 'A &amp; B' in page
    assert 'nan' not in page.lower()

    assert '| AP | 12.0 | 13.1 |' in markdown
    rows = list(csv.DictReader(table.splitlines()))
    (row,) = (
        row
        for row in rows
        if row['quantity'] == 'AP'
        and (row['model'], row['seed']) == ('KL-RPN', '2')
    )
    assert float(row['value']) == 0.12 + 0.012
    (pair,) = json.loads(values)
    assert pair['values']['AP']['RPN'] == [0.12] * 3
    assert pair['differences']['AP']['mean'] == pytest.approx(0.011)


def test_the_same_runs_give_the_same_page(study, tmp_path):
    plan = stored_plan([study])
    pages = [
        write_report(plan, summarize(plan, [study], 5), tmp_path / name)[0]
        for name in ('first', 'second')
    ]
    assert pages[0].read_bytes() == pages[1].read_bytes()
