"""Average precision of detections, and had other images been drawn."""

import copy
import json

import numpy as np
import pytest
from mmdet.evaluation import CocoMetric
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from synthetic_runs import make_scene

from mmdet_klrpn.benchmark.columns import AP_NAMES
from mmdet_klrpn.benchmark.detection import (
    average_precisions,
    evaluate,
    pack_detections,
    precision_curve,
    resampled_precisions,
)


@pytest.fixture(scope='module')
def scene():
    return make_scene()


def pycocotools_stats(truth, detections):
    """The first six of pycocotools' summary, as anybody calls it."""
    coco = COCO()
    coco.dataset = copy.deepcopy(truth)
    coco.createIndex()
    results = coco.loadRes(copy.deepcopy(detections))
    coco_eval = COCOeval(coco, results, 'bbox')
    coco_eval.evaluate()
    coco_eval.accumulate()
    coco_eval.summarize()
    return np.where(coco_eval.stats < 0, np.nan, coco_eval.stats)[:6]


def duplicated(truth, detections, sample):
    """The data set in which images are as often as they were drawn."""
    ids = sorted(image['id'] for image in truth['images'])
    images, annotations, found = [], [], []
    for new, position in enumerate(sample, 1):
        old = ids[position]
        images.append(dict(id=new, width=300, height=300))
        for annotation in truth['annotations']:
            if annotation['image_id'] == old:
                own = dict(id=len(annotations) + 1, image_id=new)
                annotations.append(dict(annotation, **own))
        found += [
            dict(detection, image_id=new)
            for detection in detections
            if detection['image_id'] == old
        ]
    return dict(truth, images=images, annotations=annotations), found


def test_average_precisions_are_those_of_pycocotools(scene):
    found = average_precisions(evaluate(*scene))
    np.testing.assert_array_equal(found, pycocotools_stats(*scene))
    assert 0.1 < found[0] < found[1] < 1


def test_resamples_are_what_duplicated_images_give(scene):
    samples = np.random.default_rng(0).integers(6, size=(8, 6))
    coco_eval = evaluate(*scene)
    before = average_precisions(coco_eval)
    found = resampled_precisions(coco_eval, samples)
    expected = [
        pycocotools_stats(*duplicated(*scene, sample)) for sample in samples
    ]
    np.testing.assert_array_equal(found, expected)
    # It is left as it was, and drawing each once changes nothing.
    np.testing.assert_array_equal(average_precisions(coco_eval), before)
    once = resampled_precisions(coco_eval, np.arange(6)[None])
    np.testing.assert_array_equal(once[0], before)


def test_resamples_with_more_than_100_detections_an_image(scene):
    truth, detections = scene
    generator = np.random.default_rng(5)
    many = detections + [
        dict(detections[0], score=float(score))
        for score in generator.random(150)
    ]
    samples = np.array([[0, 0, 1, 2, 3, 5]])
    # Two numbers of detections count: all of the image's at 1000 only.
    expected = average_precisions(
        evaluate(*duplicated(truth, many, samples[0]))
    )
    found = resampled_precisions(evaluate(truth, many), samples)
    np.testing.assert_array_equal(found[0], expected)


def test_images_without_objects_have_no_ap(scene):
    found = resampled_precisions(evaluate(*scene), np.full((1, 6), 5))
    assert np.isnan(found).all()


def test_no_detection_is_an_ap_of_zero(scene):
    found = average_precisions(evaluate(scene[0], []))
    assert dict(zip(AP_NAMES, found))['AP'] == 0


def test_precision_curve_averages_to_the_ap(scene):
    coco_eval = evaluate(*scene)
    curve = precision_curve(coco_eval, 0.5)
    ap50 = average_precisions(coco_eval)[AP_NAMES.index('AP50')]
    assert curve.mean() == pytest.approx(ap50, rel=1e-12)
    assert curve.shape == (101,)


def test_equals_coco_metric(scene, tmp_path):
    """The very figures of tools/test.py, from the same arrays."""
    truth, detections = scene
    path = tmp_path / 'truth.json'
    path.write_text(json.dumps(truth))
    metric = CocoMetric(str(path))
    metric.dataset_meta = dict(classes=('tree', 'bush'))
    packed = []
    for image in truth['images']:
        own = [d for d in detections if d['image_id'] == image['id']]
        boxes = np.array([d['bbox'] for d in own], dtype=np.float32)
        boxes[:, 2:] += boxes[:, :2]
        instances = dict(
            bboxes=boxes,
            scores=np.array([d['score'] for d in own], dtype=np.float32),
            labels=np.array([int(d['category_id'] == 8) for d in own]),
        )
        packed += pack_detections(image['id'], instances, [3, 8])
        metric.results.append((None, dict(instances, img_id=image['id'])))
    expected = metric.compute_metrics(metric.results)
    found = average_precisions(evaluate(truth, packed))
    names = ('mAP', 'mAP_50', 'mAP_75', 'mAP_s', 'mAP_m', 'mAP_l')
    assert [round(value, 3) for value in found] == [
        expected[f'bbox_{name}'] for name in names
    ]


@pytest.mark.parametrize(
    'ids', [(0, 1, 2), (-1, 0, -7), (2**70, 2**53, 0), (5, 5, 5)]
)
def test_ids_are_labels(ids):
    truth, detections = perfect_detections(ids)
    precisions = average_precisions(evaluate(truth, detections))
    assert precisions[0] == pytest.approx(1)


def test_what_is_optional_may_be_absent():
    truth, detections = perfect_detections((1, 2, 3))
    for annotation in truth['annotations']:
        del annotation['area'], annotation['iscrowd']
    precisions = average_precisions(evaluate(truth, detections))
    named = dict(zip(AP_NAMES, precisions))
    assert named['AP'] == pytest.approx(1)
    assert named['AP_M'] == pytest.approx(1)  # of 40 by 40 pixels
    assert np.isnan(named['AP_S'])


def perfect_detections(ids):
    """Ground truth of these annotation ids, and detections equal to it."""
    boxes = [[0, 0, 40, 40], [60, 0, 40, 40], [0, 60, 40, 40]]
    places = [dict(image_id=0, category_id=0, bbox=box) for box in boxes]
    truth = dict(
        images=[dict(id=0)],
        categories=[dict(id=0)],
        annotations=[
            dict(place, id=own, area=1600, iscrowd=0)
            for place, own in zip(places, ids)
        ],
    )
    scores = (0.9, 0.8, 0.7)
    return truth, [dict(p, score=score) for p, score in zip(places, scores)]
