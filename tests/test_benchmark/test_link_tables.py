"""Links of several detectors side by side."""

import copy

import pytest

from mmdet_klrpn.benchmark.links import format_page
from mmdet_klrpn.benchmark.links.tables import group_runs, link_table
from mmdet_klrpn.benchmark.links.words import LINKS
from mmdet_klrpn.benchmark.statistics import student_interval


def make_run(model, seed, value, part=None):
    """A run of which every figure is the same, or one is another."""
    links = {link.name: {'row': dict(x=value, y=part)} for link in LINKS}
    return dict(
        model=model,
        seed=seed,
        checkpoint=f'{model}/seed{seed}.pth',
        num_proposals=300,
        classes=['a'],
        size_edges=[1.0, 2.0, 3.0],
        test_images=4,
        test_objects=5,
        train_images=6,
        train_objects=7,
        links=links,
    )


# Seed 2 is of the first alone.
RUNS = [
    make_run('rpn', 0, 0.1, 0.3),
    make_run('rpn', 1, 0.2),
    make_run('rpn', 2, 0.6),
    make_run('kl', 1, 0.25, 0.1),
    make_run('kl', 0, 0.13, 0.1),
]


def test_differences_are_paired_by_seed():
    table = link_table(group_runs(RUNS), LINKS[0])
    low, high = student_interval([3, 5])
    assert table.header == ['', 'x', 'y']
    assert table.rows == [
        ['row, A', '30.0', '\N{EN DASH}'],
        ['row, B', '19.0', '10.0'],
        [
            'row, B \N{MINUS SIGN} A',
            f'+4.0 ({low:+.1f} to {high:+.1f})',
            '\N{EN DASH}',
        ],
    ]


def test_bold_excludes_0_over_seeds():
    runs = [make_run('a', seed, 0.1 * seed) for seed in range(5)]
    runs += [make_run('b', s, 0.1 * s + 0.02 + 0.001 * s) for s in range(5)]
    low, high = student_interval([2.0, 2.1, 2.2, 2.3, 2.4])
    assert low > 0
    cell = link_table(group_runs(runs), LINKS[0]).rows[-1][1]
    assert cell == f'**+2.2** ({low:+.1f} to {high:+.1f})'
    # One seed decides nothing.
    cell = link_table(group_runs([runs[0], runs[5]]), LINKS[0]).rows[-1][1]
    assert cell == '+2.0'


def test_page_has_every_link_and_what_it_is_of():
    page = format_page(RUNS)
    for link in LINKS:
        assert f'## {link.title}\n\n{link.meaning}\n\n|' in page
    assert '- A: `rpn`, seeds 0, 1, 2, 300 proposals an image' in page
    assert '- B: `kl`, seeds 0, 1, 300 proposals an image' in page
    assert '5 objects in 4 test images, 7 in 6 training images' in page
    alone = format_page(RUNS[:1])
    assert '\N{MINUS SIGN}' not in alone
    # Without a seed of both there is no difference.
    page = format_page([RUNS[2], RUNS[3]])
    assert '| row, B \N{MINUS SIGN} A | \N{EN DASH} |' in page


def test_refuses_what_cannot_be_compared():
    with pytest.raises(ValueError, match=r'rpn has seed 0 twice'):
        format_page([RUNS[0], copy.deepcopy(RUNS[0])])
    for key in ('test_objects', 'train_images'):
        other = dict(RUNS[3], **{key: 9})
        with pytest.raises(ValueError, match=f'has {key} 9, but rpn/seed0'):
            format_page([RUNS[0], other])
