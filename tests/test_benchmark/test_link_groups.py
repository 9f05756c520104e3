"""Groups of objects by class and size."""

import numpy as np
import pytest

from mmdet_klrpn.benchmark.links.groups import (
    Objects,
    make_groups,
    quarter_areas,
    size_edges,
)


def make_objects(sizes, labels):
    boxes = [[5, 7, 5 + 2 * size, 7 + size / 2] for size in sizes]
    return Objects(np.array(boxes, dtype=float), np.array(labels))


OBJECTS = make_objects(
    [4, 8, 12, 16, 20, 24, 28, 32], [0, 0, 0, 0, 0, 0, 2, 2]
)


def test_quarters_hold_a_quarter_of_the_objects_each():
    edges = size_edges(OBJECTS)
    assert edges.tolist() == [11, 18, 25]
    groups = make_groups(OBJECTS, ('a', 'b', 'c'), edges)
    assert list(groups.quarters) == [
        *('Q1, to 11 px', 'Q2, to 18 px', 'Q3, to 25 px', 'Q4, over 25 px')
    ]
    for i, members in enumerate(groups.quarters.values()):
        assert members.nonzero()[0].tolist() == [2 * i, 2 * i + 1]
    # Others by the same edges, one of which is in the quarter below.
    others = make_groups(make_objects([90, 11, 1], [0, 0, 0]), 'a', edges)
    assert [m.tolist() for m in others.quarters.values()] == [
        [False, True, True],
        *[[False] * 3] * 2,
        [True, False, False],
    ]


def test_areas_of_quarters_hold_the_same_objects():
    # As many as leave an object at each edge.
    sizes = np.random.default_rng(0).uniform(5, 50, 101)
    objects = make_objects(sizes, [0] * 101)
    edges = size_edges(objects)
    assert all(np.isclose(objects.sizes, edge).any() for edge in edges)
    quarters = make_groups(objects, 'a', edges).quarters
    areas = quarter_areas(edges)
    assert list(areas) == list(quarters)
    own = np.prod(objects.bboxes[:, 2:] - objects.bboxes[:, :2], axis=1)
    for (low, high), members in zip(areas.values(), quarters.values()):
        assert ((own >= low) & (own <= high)).tolist() == members.tolist()


def test_classes_count_alike_in_their_mean():
    groups = make_groups(OBJECTS, ('a', 'b', 'c'), size_edges(OBJECTS))
    values = np.array([0, 0, 0, 0, 0, 6, 10, np.inf])
    finite = np.minimum(values, 20)
    row = groups.row(lambda own: finite[own].mean())
    assert row == {
        **{'all objects': 4.5, 'mean of classes': 8, 'a': 1, 'b': None},
        **{'c': 15, 'Q1, to 11 px': 0, 'Q2, to 18 px': 0},
        **{'Q3, to 25 px': 3, 'Q4, over 25 px': 15},
    }
    # A class with objects but no value leaves their mean without one.
    row = groups.row(lambda own: values[own].max())
    assert row['a'] == 6
    assert row['c'] is row['mean of classes'] is row['all objects'] is None


def test_a_single_class_is_all_objects():
    groups = make_groups(OBJECTS, ('a',), size_edges(OBJECTS))
    row = groups.row(np.sum)
    assert list(row) == ['all objects', *groups.quarters]
    assert row['all objects'] == 8


def test_no_object_has_no_quartiles():
    with pytest.raises(ValueError, match='has no object'):
        size_edges(make_objects([], []))
