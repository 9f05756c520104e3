"""Matching of proposals to objects against naive loops."""

import numpy as np
import pytest

from mmdet_klrpn.evaluation.functional import (
    concatenate,
    match_proposals,
    proposal_errors,
)


def random_boxes(generator, count):
    xy = generator.uniform(0, 60, (count, 2))
    return np.concatenate(
        [xy, xy + generator.uniform(5, 40, (count, 2))], axis=1
    )


def overlap(a, b):
    size = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    return np.prod(np.maximum(size, 0))


def area(box):
    return np.prod(box[2:] - box[:2])


def naive_match(boxes, objects, ignored, threshold, labels=None):
    matched = []
    for n, box in enumerate(boxes):
        best, found, covered = 0.0, -1, False
        for i, other in enumerate(objects):
            if labels is not None and labels[0][n] != labels[1][i]:
                continue
            both = overlap(box, other)
            if ignored[i]:
                covered |= both / area(box) >= threshold
                continue
            iou = both / (area(box) + area(other) - both)
            if iou > best:
                best, found = iou, i
        matched.append(found if best >= threshold else (-2 if covered else -1))
    return matched


@pytest.mark.parametrize('by_class', [False, True])
@pytest.mark.parametrize('threshold', [0.5, 0.7])
@pytest.mark.parametrize('seed', range(3))
def test_matching_equals_a_naive_reference(seed, threshold, by_class):
    generator = np.random.default_rng(seed)
    objects = random_boxes(generator, 12)
    ignored = generator.random(12) < 0.3
    near = np.repeat(objects, 6, axis=0)
    near = near + generator.normal(0, 2, near.shape)
    boxes = np.concatenate([near, random_boxes(generator, 40)])
    labels = None
    if by_class:
        labels = generator.integers(2, size=len(boxes)), np.arange(12) % 2
    expected = naive_match(boxes, objects, ignored, threshold, labels)
    assert {-2, -1} < set(expected)
    matched = match_proposals(
        boxes, objects, ignored, threshold, labels=labels
    )
    np.testing.assert_array_equal(matched, expected)


def test_errors_of_the_best_proposals():
    objects = np.array([[0.0, 0, 10, 20], [50, 50, 90, 90]])
    ignored = np.array([False, True])
    boxes = np.array(
        [
            [60.0, 60, 70, 70],  # in the ignored region
            [1, 0, 10, 18],
            [30, 30, 40, 40],
            [0, 2, 11, 20],
            [0, 0, 10, 20],  # perfect, but scored too low to be taken
        ]
    )
    scores = np.array([0.9, 0.5, 0.6, 0.8, 0.1])
    stds = np.arange(20.0).reshape(5, 4)
    found = proposal_errors(boxes, scores, stds, objects, ignored, max_num=4)
    np.testing.assert_allclose(found.scores, [0.8, 0.6, 0.5])
    np.testing.assert_array_equal(found.hits, [True, False, True])
    np.testing.assert_array_equal(
        found.errors, [[0, -2, -1, 0], [-1, 0, 0, 2]]
    )
    np.testing.assert_array_equal(found.stds, stds[[3, 1]])
    np.testing.assert_array_equal(found.sizes, [[10, 20, 10, 20]] * 2)
    assert all(x.dtype == np.float32 for x in (found.errors, found.scores))


def test_errors_of_detections_are_of_their_own_class():
    objects = np.array([[0.0, 0, 10, 20], [1, 0, 10, 20]])
    boxes = np.array([[0.0, 0, 10, 20], [1, 0, 10, 20], [0, 0, 10, 20]])
    scores, flags = np.array([0.1, 0.9, 0.5]), np.zeros(2, dtype=bool)
    labels = np.array([4, 3, 5]), np.array([3, 4])
    found = proposal_errors(
        boxes, scores, boxes + 1, objects, flags, max_num=9, labels=labels
    )
    np.testing.assert_array_equal(found.hits, [True, False, True])
    np.testing.assert_array_equal(found.errors, [[-1, 0, 0, 0], [1, 0, 0, 0]])


def test_nothing_to_match():
    none, box = np.zeros((0, 4)), np.array([[0.0, 0, 10, 10]])
    no_flag, flag = np.zeros(0, dtype=bool), np.zeros(1, dtype=bool)
    without = proposal_errors(box, np.ones(1), box + 1, none, no_flag, 5)
    assert not without.hits.any()
    empty = proposal_errors(none, np.zeros(0), none, box, flag, 5)
    unsure = proposal_errors(box, np.ones(1), None, box, flag, 5)
    assert unsure.hits.all()
    for found, count in ((without, 1), (empty, 0), (unsure, 1)):
        assert found.scores.shape == found.hits.shape == (count,)
        for part in found[2:]:
            assert part.shape == (0, 4)
    both = concatenate([without, empty, unsure])
    np.testing.assert_array_equal(both.hits, [False, True])
