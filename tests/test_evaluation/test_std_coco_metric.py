"""StdCocoMetric: CocoMetric's figures, and those of the stds."""

import json

import numpy as np
import pytest
import torch
from mmdet.evaluation import CocoMetric

from mmdet_klrpn.evaluation import StdCocoMetric
from mmdet_klrpn.evaluation.functional import std_calibration

CLASSES = ('a', 'b')


@pytest.fixture
def data(tmp_path):
    """Objects of three images, and detections near and far from them."""
    generator = np.random.default_rng(0)
    annotations, samples, expected = [], [], []
    for image in range(3):
        corners = np.array([[10.0, 10], [90, 20], [20, 120]])
        boxes = np.concatenate([corners, corners + 60], axis=1)
        for n, box in enumerate(boxes):
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=image,
                    # Ids in neither the file's nor the labels' order.
                    category_id=(7, 5, 9)[n],
                    bbox=[*box[:2], 60, 60],
                    area=3600,
                    iscrowd=int(image == 2 and n == 0),
                )
            )
        errors = generator.normal(0, 4, (3, 4))
        stds = generator.uniform(2, 6, (3, 4))
        # The third object is of no class of the data set's. The second is
        # found with a low score in the last image.
        scores = [0.9, 0.8 if image < 2 else 0.04, 0.7]
        samples.append(
            dict(
                img_id=image,
                ori_shape=(200, 200),
                pred_instances=dict(
                    bboxes=torch.tensor(boxes - errors),
                    scores=torch.tensor(scores),
                    labels=torch.tensor([1, 0, 0]),
                    bbox_stds=torch.tensor(stds),
                ),
            )
        )
        if image < 2:
            expected += list(zip(errors[:2], stds[:2]))
    path = tmp_path / 'file.json'
    path.write_text(
        json.dumps(
            dict(
                images=[dict(id=i, width=200, height=200) for i in range(3)],
                annotations=annotations,
                categories=[
                    dict(id=5, name='a'),
                    dict(id=9, name='c'),
                    dict(id=7, name='b'),
                ],
            )
        )
    )
    return str(path), samples, expected


def evaluate(metric, samples):
    metric.dataset_meta = dict(classes=CLASSES)
    metric.process({}, samples)
    return metric.evaluate(size=len(samples))


def test_figures_are_those_of_detections_on_objects_of_their_class(data):
    path, samples, expected = data
    found = evaluate(StdCocoMetric(path), samples)
    errors, stds = map(np.array, zip(*expected))
    figures = std_calibration(errors, stds, np.full_like(errors, 60))
    for name, value in figures.items():
        assert found[f'coco/{name}'] == pytest.approx(value, rel=1e-5), name
    theirs = evaluate(CocoMetric(path), samples)
    assert theirs['coco/bbox_mAP'] > 0
    assert theirs.items() <= found.items()
    assert len(found) == len(theirs) + len(figures)


def test_without_stds_it_is_coco_metric(data):
    path, samples, _ = data
    for sample in samples:
        del sample['pred_instances']['bbox_stds']
    theirs = evaluate(CocoMetric(path), samples)
    assert evaluate(StdCocoMetric(path), samples) == theirs


def test_no_detection_is_on_an_object(data):
    path, samples, _ = data
    for sample in samples:
        sample['pred_instances']['bboxes'] += 500
    found = evaluate(StdCocoMetric(path), samples)
    assert found['coco/bbox_mAP'] == 0
    assert not any('coverage' in name for name in found)


def test_needs_a_file():
    with pytest.raises(ValueError, match='ann_file must be the path'):
        StdCocoMetric()
