"""Plots: what they draw, and that their files are always the same."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest
from synthetic_results import synthetic_results

from mmdet_klrpn.benchmark.plots import draw_curves, draw_forest


@pytest.fixture(scope='module')
def results():
    return synthetic_results()


def test_a_curve_is_the_mean_with_a_band(results):
    plot = draw_curves(results, 'ap', 'AP', '', ['proposals', 'AP'])
    (ax,) = plot.figure.axes
    assert ax.get_xscale() == 'log'
    lines = {line.get_label(): line for line in ax.lines}
    assert 'Zoo' not in lines  # it has no AP
    assert len(lines) == len(ax.collections) == 3
    frame = results.frame.query('detector == "KL-RPN" and metric == "AP"')
    for x, y in lines['KL-RPN'].get_xydata():
        found = frame[frame['at'] == f'@{x:.0f}']['value']
        assert y == pytest.approx(100 * found.mean())
    band = ax.collections[-1].get_paths()[0].vertices
    assert band[:, 1].max() == pytest.approx(
        100 * (found.mean() + found.std())
    )


def test_the_forest_has_both_intervals(results):
    (ax,) = draw_forest(results).figure.axes
    ends = [line.get_xdata() for line in ax.lines]
    row = results.comparisons.query('second == "KL-RPN" and metric == "AP"')
    row = row[row['at'] == ''].iloc[0]
    for over in ('seeds', 'images'):
        pair = 100 * np.array([row[f'{over}_low'], row[f'{over}_high']])
        assert any(np.allclose(pair, x) for x in ends if len(x) == 2)
    colours = {line.get_color() for line in ax.lines[1:]}
    assert len(colours) == 2  # significant or not


def test_files_are_small_unique_and_the_same(results, tmp_path):
    spec = ('precision50', '', ['recall', 'precision'])
    plots = [
        draw_curves(results, name, *spec) for name in ('one', 'two', 'one')
    ]
    one, two, again = (plot.svg() for plot in plots)
    assert one == again
    assert len(one) < 50_000
    ids = [
        {node.get('id') for node in ElementTree.fromstring(svg).iter()}
        - {None}
        for svg in (one, two)
    ]
    assert ids[0]
    assert not ids[0] & ids[1]
    used = re.findall(r'(?:url\(#|href="#)([^")]+)', one)
    assert used
    assert set(used) <= ids[0]
    assert set(re.findall(r'https?://[^"]+', one)) == {
        'http://www.w3.org/1999/xlink',
        'http://www.w3.org/2000/svg',
    }
    first = [path.read_bytes() for path in plots[0].write(tmp_path)]
    second = [path.read_bytes() for path in plots[2].write(tmp_path)]
    assert first == second
