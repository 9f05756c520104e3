"""Recall of groups of objects, and differences over seeds."""

import numpy as np
import pytest
from screening.recall import recall_rates
from screening.report import show_difference

from mmdet_klrpn.benchmark.statistics import welch


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
    found = recall_rates(truth, proposals).set_index(['metric', 'group'])
    assert found.loc['AR@30', 'n'].to_dict() == {
        **{'all': 4, 'class mean': 4, 'class: x': 1, 'class: y': 3},
        **dict.fromkeys(['Q1', 'Q2', 'Q3', 'Q4'], 1),
    }
    found = found['value']
    assert found['AR@10', 'all'] == pytest.approx(1.7 / 4)
    assert found['AR@30', 'all'] == found['AR@10', 'all']
    assert found['AR@100', 'all'] == pytest.approx(2.7 / 4)
    assert found['AR@10', 'class mean'] == pytest.approx((1 + 0.7 / 3) / 2)
    assert found['AR@300', 'class: y'] == pytest.approx(1.7 / 3)
    quarters = [found['AR@100', f'Q{i}'] for i in (1, 2, 3, 4)]
    assert quarters == pytest.approx([1, 1, 0.7, 0])
    # Of a single class, and sizes that lie at the edges of the quarters.
    for annotation in truth['annotations']:
        annotation.update(category_id=0, bbox=boxes[2])
    found = recall_rates(truth, proposals).set_index(['metric', 'group'])
    groups = found.loc['AR@10', 'n'].to_dict()
    assert groups == {'all': 4, 'Q1': 4}
    with pytest.raises(ValueError, match='have no object'):
        recall_rates(dict(truth, annotations=[]), proposals)


def test_differences_are_bold_where_0_is_excluded():
    first, second = [1.0, 2.0, 4.0], [5.0, 5.5, 7.0, 9.0]
    low, high, _ = welch(first, second)
    assert low > 0
    expected = f'**{(low + high) / 2:+.1f}** ± {(high - low) / 2:.1f}'
    assert show_difference(first, second) == expected
    assert show_difference(second, np.add(second, 0.1)).startswith('+0.1 ± ')
    assert show_difference([1.0], [3.0]) == '+2.0'
    assert show_difference([1.0, 1.0], [3.0, 3.0]) == '**+2.0** ± 0.0'
