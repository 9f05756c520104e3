"""Rates and recalls of groups of objects, and differences over seeds."""

import numpy as np
import pytest
from object_groups import group_rates, recall_rates, size_edges
from seed_tables import show_difference

from mmdet_klrpn.benchmark.statistics import welch


def values(frame):
    return dict(zip(frame['group'], frame['value']))


def test_rates_of_groups():
    sizes = np.array([4.0, 8, 12, 16, 20, 24, 28, 32])
    edges = size_edges(sizes)
    assert edges.tolist() == [11, 18, 25]
    classes = ['a'] * 6 + ['b'] * 2
    part, whole = np.array([0, 0, 0, 0, 0, 6, 10, 20.0]), np.ones(8)
    frame = group_rates(part, whole, classes, sizes, edges)
    assert values(frame) == {
        **{'all': 4.5, 'class mean': 8, 'class: a': 1, 'class: b': 15},
        **{'Q1': 0, 'Q2': 0, 'Q3': 3, 'Q4': 15},
    }
    assert frame['n'].tolist() == [8, 8, 6, 2, 2, 2, 2, 2]
    # A class whose whole is 0 has no value, nor has the mean over classes.
    whole[6:] = 0
    part[6:] = 0
    found = values(group_rates(part, whole, classes, sizes, edges))
    assert np.isnan([found['class: b'], found['class mean']]).all()
    assert found['all'] == 1
    # By others' edges, of a single class, one object lying at an edge.
    others = np.array([90.0, 11, 1])
    found = values(group_rates([9, 4, 2], np.ones(3), 'ccc', others, edges))
    assert found == {'all': 5, 'Q1': 3, 'Q4': 9}


def test_no_object_has_no_quartiles():
    with pytest.raises(ValueError, match='have no object'):
        size_edges(np.zeros(0))


def test_recall_by_hand():
    """Objects of sizes 8 to 50, found by the 1st, 10th, 100th and no box."""
    boxes = [[0, 0, 8, 8], [20, 0, 30, 30], [60, 0, 20, 20], [90, 0, 50, 50]]
    truth = dict(
        images=[dict(id=0)],
        categories=[dict(id=3, name='x'), dict(id=0, name='y')],
        annotations=[
            dict(id=own, image_id=0, category_id=category, bbox=box)
            for own, category, box in zip(
                (0, 2**70, 7, 7), (3, 0, 0, 0), boxes
            )
        ],
    )
    found = np.tile([500.0, 500, 501, 501], (300, 1))
    for rank, (x, y, width, height) in zip((0, 9, 99), boxes):
        found[rank] = x, y, x + width, y + height
    found[9, 3] -= 6  # IoU 0.8: seven of ten thresholds
    scores = np.linspace(1, 0, 300)
    proposals = [dict(img_id=0, bboxes=found, scores=scores)]
    frame, edges, number = recall_rates(truth, proposals)
    assert (number, edges.tolist()) == (4, [17, 25, 35])
    found = frame.set_index(['metric', 'group'])['value']
    assert found['AR@10', 'all'] == pytest.approx(1.7 / 4)
    assert found['AR@30', 'all'] == found['AR@10', 'all']
    assert found['AR@100', 'all'] == pytest.approx(2.7 / 4)
    assert found['AR@10', 'class mean'] == pytest.approx((1 + 0.7 / 3) / 2)
    assert found['AR@300', 'class: y'] == pytest.approx(1.7 / 3)
    quarters = [found['AR@100', f'Q{i}'] for i in (1, 2, 3, 4)]
    assert quarters == pytest.approx([1, 1, 0.7, 0])


def test_differences_are_bold_where_0_is_excluded():
    first, second = [1.0, 2.0, 4.0], [5.0, 5.5, 7.0, 9.0]
    low, high, _ = welch(first, second)
    assert low > 0
    expected = f'**{(low + high) / 2:+.1f}** ± {(high - low) / 2:.1f}'
    assert show_difference(first, second) == expected
    assert show_difference(second, np.add(second, 0.1)).startswith('+0.1 ± ')
    assert show_difference([1.0], [3.0]) == '+2.0'
    assert show_difference([1.0, 1.0], [3.0, 3.0]) == '**+2.0** ± 0.0'
