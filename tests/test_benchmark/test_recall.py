"""Recall of the proposals, by image."""

import json

import numpy as np
import pytest
import torch
from scenes import make_scene

from mmdet_klrpn.benchmark.columns import AREAS, RECALL_NUMBERS
from mmdet_klrpn.benchmark.recall import (
    evaluate_proposals,
    name_recalls,
)
from mmdet_klrpn.evaluation import ProposalMetric


@pytest.fixture(scope='module')
def scene():
    return make_scene()


def recall_of(truth, predictions):
    """Recall over all images, (A, N, T)."""
    recalls = evaluate_proposals(truth, predictions)
    return recalls.of(np.ones((1, len(predictions))))[0]


@pytest.fixture(scope='module')
def proposals(scene, tmp_path_factory):
    """An annotation file, and 40 proposals of each image."""
    truth, _ = scene
    path = tmp_path_factory.mktemp('recall') / 'truth.json'
    path.write_text(json.dumps(truth))
    generator = np.random.default_rng(0)
    predictions = []
    for image in truth['images']:
        own = [
            a['bbox']
            for a in truth['annotations']
            if a['image_id'] == image['id']
        ]
        boxes = generator.uniform(0, 150, (40, 4))
        if own:
            near = generator.integers(len(own), size=40)
            boxes = np.array(own)[near] * generator.normal(1, 0.1, (40, 4))
        boxes[:, 2:] += boxes[:, :2]
        scores = np.sort(generator.random(40))[::-1]
        predictions.append(
            dict(img_id=image['id'], bboxes=boxes, scores=scores)
        )
    return path, predictions


def test_recall_is_that_of_the_metric(scene, proposals):
    truth, _ = scene
    path, predictions = proposals
    metric = ProposalMetric(str(path), proposal_nums=RECALL_NUMBERS)
    samples = [
        dict(
            img_id=prediction['img_id'],
            ori_shape=(200, 200),
            pred_instances=dict(
                bboxes=torch.from_numpy(prediction['bboxes']),
                scores=torch.from_numpy(prediction['scores'].copy()),
                labels=torch.zeros(40),
            ),
        )
        for prediction in predictions
    ]
    metric.process({}, samples)
    expected = metric.compute_metrics(metric.results)
    table = name_recalls(recall_of(truth, predictions))
    for number in RECALL_NUMBERS:
        found = table['AR', f'@{number}']
        assert found == pytest.approx(expected[f'AR@{number}'], rel=1e-12)
    for area in AREAS[1:]:
        found = table[f'AR_{area[0].upper()}', '@1000']
        assert found == pytest.approx(expected[f'AR_{area[0]}@1000'])
    assert 0 < table['AR', '@10'] < table['AR', '@30'] < 1


def test_weights_are_what_other_images_give(scene, proposals):
    """Twice the first and none of the second image, evaluated anew."""
    truth, _ = scene
    _, predictions = proposals
    recalls = evaluate_proposals(truth, predictions)
    kept = [predictions[i] for i in (0, 2, 3)]
    expected = recall_of(truth, kept)
    found = recalls.of(np.array([[1, 0, 1, 1, 0, 0]]))[0]
    np.testing.assert_allclose(found, expected)

    once = recalls.of(np.array([[1, 0, 0, 0, 0, 0]]))[0]
    third = recalls.of(np.array([[0, 0, 1, 0, 0, 0]]))[0]
    first, second = recalls.objects[[0, 2], 0]
    expected = (2 * first * once + second * third) / (2 * first + second)
    found = recalls.of(np.array([[2, 0, 1, 0, 0, 0]]))[0]
    np.testing.assert_allclose(found[0], expected[0])


def test_no_object_has_no_recall(scene, proposals):
    truth, _ = scene
    _, predictions = proposals
    recalls = evaluate_proposals(truth, predictions)
    assert np.isnan(recalls.of(np.array([[0, 0, 0, 0, 0, 1]]))).all()


@pytest.mark.parametrize(
    ('ids', 'optional'),
    [
        ((0, 1, 2), dict(area=1600, iscrowd=0)),
        ((-1, 0, -7), dict()),
        ((2**70, 1, 2**63), dict(area=None, iscrowd=None)),
    ],
)
def test_ids_are_labels_and_fields_optional(ids, optional):
    boxes = [[0, 0, 40, 40], [60, 0, 50, 40], [0, 60, 40, 60]]
    truth = dict(
        images=[dict(id=0)],
        categories=[dict(id=0, name='a')],
        annotations=[
            dict(id=own, image_id=0, category_id=0, bbox=box, **optional)
            for own, box in zip(ids, boxes)
        ],
    )
    bboxes = np.array(boxes, dtype=float)
    bboxes[:, 2:] += bboxes[:, :2]
    scores = np.array([0.7, 0.9, 0.8])
    predictions = [dict(img_id=0, bboxes=bboxes, scores=scores)]
    recall = name_recalls(recall_of(truth, predictions))
    assert recall['AR', '@10'] == recall['AR_M', '@1000'] == 1


def test_objects_of_other_categories_do_not_count(scene, proposals):
    truth, _ = scene
    _, predictions = proposals
    fewer = dict(truth, categories=[dict(id=8, name='bush')])
    alone = [a for a in truth['annotations'] if a['category_id'] == 8]
    found = evaluate_proposals(fewer, predictions)
    expected = evaluate_proposals(dict(fewer, annotations=alone), predictions)
    np.testing.assert_array_equal(found.found, expected.found)
    assert found.objects[:, 0].sum() == sum(not a['iscrowd'] for a in alone)
