"""Where objects are in the ranking of proposals."""

import numpy as np
import pytest
from synthetic_runs import make_scene

from mmdet_klrpn.benchmark.links.groups import Objects, make_groups
from mmdet_klrpn.benchmark.links.objects import CocoObjects
from mmdet_klrpn.benchmark.links.ranking import (
    CLAIM_NUMBER,
    RANK_IOUS,
    claims,
    first_ranks,
    matched_ranks,
    missed_rows,
    rank_rows,
    recall_rows,
)
from mmdet_klrpn.benchmark.recall import evaluate_proposals

IOUS = np.linspace(0.5, 0.95, 10)


def iou(one, other):
    low = [max(one[i], other[i]) for i in (0, 1)]
    high = [min(one[i], other[i]) for i in (2, 3)]
    common = max(high[0] - low[0], 0) * max(high[1] - low[1], 0)
    areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (one, other)]
    return common / (sum(areas) - common)


@pytest.fixture(scope='module')
def scene():
    """Objects, and 200 proposals of each image."""
    truth, _ = make_scene()
    objects = CocoObjects(truth)
    generator = np.random.default_rng(0)
    predictions = []
    for image in truth['images']:
        own = objects.objects.bboxes[objects.rows(image['id'])]
        bboxes = generator.uniform(0, 150, (200, 4))
        bboxes[:, 2:] += bboxes[:, :2]
        if len(own):
            near = own[generator.integers(len(own), size=200)]
            bboxes = near + generator.normal(0, 6, (200, 4))
        scores = np.sort(generator.random(200))[::-1]
        predictions.append(
            dict(img_id=image['id'], bboxes=bboxes, scores=scores)
        )
    return objects, predictions


def naive_matched_ranks(objects, predictions):
    """Each proposal in turn takes the free object of the highest IoU."""
    ranks = np.full((len(objects.ids), len(IOUS)), np.inf)
    for prediction in predictions:
        rows = objects.rows(prediction['img_id'])
        for t, threshold in enumerate(IOUS):
            for rank, box in enumerate(prediction['bboxes'], 1):
                free = [
                    (iou(box, objects.objects.bboxes[row]), row)
                    for row in rows
                    if np.isinf(ranks[row, t])
                ]
                if free and max(free)[0] >= threshold:
                    ranks[max(free)[1], t] = rank
    return ranks


def test_matches_are_those_of_coco(scene):
    objects, predictions = scene
    ranks = matched_ranks(objects, predictions)
    np.testing.assert_array_equal(
        ranks, naive_matched_ranks(objects, predictions)
    )
    assert 0.3 < np.isfinite(ranks).mean() < 0.9


def test_recall_is_that_of_the_benchmark(scene):
    objects, predictions = scene
    ranks = matched_ranks(objects, predictions)
    edges = np.array([15.0, 40.0, 80.0])  # between the scene's sizes
    groups = make_groups(objects.objects, ('tree', 'bush'), edges)
    rows = recall_rows(ranks, groups)
    # (areas, numbers of proposals, IoU thresholds)
    recalls = evaluate_proposals(objects.ground_truth, predictions)
    expected = recalls.recall().mean(axis=2)
    for i, number in enumerate((10, 30, 100, 300)):
        row = rows[f'AR@{number}']
        assert row['all objects'] == pytest.approx(expected[0, i])
        # The sizes 20, 60 and 110 are small, medium and large.
        quarters = list(row.values())[-4:]
        assert quarters[0] is None
        assert quarters[1:] == pytest.approx(expected[1:, i].tolist())
    labels = objects.objects.labels
    by_class = [(ranks[labels == i] <= 30).mean() for i in (0, 1)]
    row = rows['AR@30']
    assert [row['tree'], row['bush']] == pytest.approx(by_class)
    assert row['mean of classes'] == pytest.approx(np.mean(by_class))
    assert abs(by_class[0] - by_class[1]) > 0.01


def test_no_proposal_recalls_nothing(scene):
    objects, predictions = scene
    none = [
        dict(p, bboxes=p['bboxes'][:0], scores=p['scores'][:0])
        for p in predictions
    ]
    assert np.isinf(matched_ranks(objects, none)).all()


def test_first_ranks(scene):
    objects, predictions = scene
    for prediction in predictions:
        own = objects.objects.bboxes[objects.rows(prediction['img_id'])]
        found = first_ranks(prediction['bboxes'], own)
        assert found.shape == (len(own), 2)
        for box, ranks in zip(own, found):
            for threshold, rank in zip(RANK_IOUS, ranks):
                hits = [iou(b, box) >= threshold for b in prediction['bboxes']]
                expected = 1 + hits.index(True) if any(hits) else np.inf
                assert rank == expected
    assert np.isinf(first_ranks(np.zeros((0, 4)), own)).all()


def test_ranks_of_groups():
    ranks = np.array([[1, 5], [3, np.inf], [np.inf] * 2, [9, np.inf]])
    boxes = np.array([[0, 0, 9, 9]] * 3 + [[0, 0, 99, 99]], dtype=float)
    objects = Objects(boxes, np.array([0, 0, 0, 0]))
    groups = make_groups(objects, ('a',), np.array([20, 40, 60]))
    medians, missed = rank_rows(ranks, groups), missed_rows(ranks, groups)
    quarters = list(groups.quarters)
    assert medians['median at IoU 0.5']['all objects'] == 6
    assert medians['median at IoU 0.5'][quarters[0]] == 3
    assert medians['median at IoU 0.5'][quarters[3]] == 9
    assert medians['median at IoU 0.7']['all objects'] is None
    assert missed['never at IoU 0.5']['all objects'] == 0.25
    assert missed['never at IoU 0.7']['all objects'] == 0.75
    assert missed['never at IoU 0.7'][quarters[0]] == pytest.approx(2 / 3)
    assert missed['never at IoU 0.7'][quarters[1]] is None


def test_claims():
    objects = np.array([[0, 0, 10, 10], [20, 20, 40, 40], [50, 0, 60, 10]])
    crowd = np.array([[100, 100, 200, 200]])
    proposals = [
        [20, 20, 40, 38],  # the second object
        [0, 0, 10, 4],  # IoU 0.4 with the first
        [20, 21, 40, 40],  # the second again
        [120, 120, 140, 140],  # in the crowd
        [0, 0, 10, 5],  # IoU 0.5 with the first
        [22, 20, 40, 40],  # the second again
    ]
    found = claims(np.array(proposals, dtype=float), objects, crowd)
    assert found[:4] == (2, 2, 1, 1)
    assert found.by_object.tolist() == [0, 2, 0]
    # Of the best hundred only.
    padded = [[70, 70, 80, 80]] * (CLAIM_NUMBER - 2) + proposals
    found = claims(np.array(padded, dtype=float), objects, crowd)
    assert found[:4] == (1, 0, CLAIM_NUMBER - 1, 0)
    found = claims(np.array(proposals, dtype=float), objects[:0], crowd)
    assert found[:4] == (0, 0, 5, 1)
