"""Recall of the proposals, by image."""

import json

import numpy as np
import pytest
import torch
from synthetic_runs import make_scene

from mmdet_klrpn.benchmark.columns import AREAS, RECALL_NUMBERS
from mmdet_klrpn.benchmark.recall import (
    evaluate_proposals,
    rank_objects,
    recall_table,
)
from mmdet_klrpn.evaluation import ProposalMetric


@pytest.fixture(scope='module')
def scene():
    return make_scene()


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


def test_recall_is_that_of_the_metric(proposals):
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
    table = recall_table(evaluate_proposals(str(path), predictions))
    for number in RECALL_NUMBERS:
        found = np.mean(table['all'][str(number)])
        assert found == pytest.approx(expected[f'AR@{number}'], rel=1e-12)
    for area in AREAS[1:]:
        found = np.mean(table[area]['1000'])
        assert found == pytest.approx(expected[f'AR_{area[0]}@1000'])
    assert 0 < np.mean(table['all']['10']) < np.mean(table['all']['30']) < 1


def test_weights_are_what_other_images_give(proposals):
    """Twice the first and none of the second image, evaluated anew."""
    path, predictions = proposals
    recalls = evaluate_proposals(str(path), predictions)
    kept = [predictions[i] for i in (0, 2, 3)]
    expected = evaluate_proposals(str(path), kept).recall()
    found = recalls.of(np.array([[1, 0, 1, 1, 0, 0]]))[0]
    np.testing.assert_allclose(found, expected)

    once = recalls.of(np.array([[1, 0, 0, 0, 0, 0]]))[0]
    third = recalls.of(np.array([[0, 0, 1, 0, 0, 0]]))[0]
    first, second = recalls.objects[[0, 2], 0]
    expected = (2 * first * once + second * third) / (2 * first + second)
    found = recalls.of(np.array([[2, 0, 1, 0, 0, 0]]))[0]
    np.testing.assert_allclose(found[0], expected[0])


def test_no_object_has_no_recall(proposals):
    path, predictions = proposals
    recalls = evaluate_proposals(str(path), predictions)
    assert np.isnan(recalls.of(np.array([[0, 0, 0, 0, 0, 1]]))).all()


def test_ranks_of_objects_give_the_same_recall(scene, proposals):
    truth, _ = scene
    path, predictions = proposals
    objects = rank_objects(str(path), predictions, 40)
    expected = evaluate_proposals(str(path), predictions).recall()[0]
    for number, recall in zip(RECALL_NUMBERS, expected):
        np.testing.assert_allclose(
            (objects.ranks < number).mean(axis=0), recall
        )
    counted = [a for a in truth['annotations'] if not a['iscrowd']]
    sizes = [a['area'] ** 0.5 for a in counted]
    np.testing.assert_allclose(sorted(objects.sizes), sorted(sizes))
    bushes = sum(a['category_id'] == 8 for a in counted)
    assert (objects.classes == 'bush').sum() == bushes > 0
