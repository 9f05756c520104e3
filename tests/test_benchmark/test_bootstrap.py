"""AP from matches: pycocotools' own, of any images drawn."""

import copy
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.evaluation import CocoMetric
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from scenes import make_scene

from mmdet_klrpn.benchmark.bootstrap import (
    collect_matches,
    draw_weights,
    name_values,
    resample,
    save_matches,
)
from mmdet_klrpn.benchmark.columns import AP_NAMES
from mmdet_klrpn.benchmark.detection import (
    by_area,
    evaluate,
    false_positives,
    pool,
    precision_curve,
)
from mmdet_klrpn.benchmark.recall import Recalls, evaluate_proposals
from mmdet_klrpn.evaluation.functional.coco_matching import pack


@pytest.fixture(scope='module')
def scene():
    return make_scene()


def matches_of(truth, detections):
    coco_eval = evaluate(truth, detections)
    classes = [category['name'] for category in truth['categories']]
    return collect_matches(coco_eval, classes, AP_NAMES)


def named_values(matches, weights):
    nothing = np.zeros((weights.shape[1], 4, 5, 10))
    recalls = Recalls(nothing, nothing[:, :, 0, 0], np.zeros(9))
    return name_values({'': matches}, recalls, weights)


def weighted(truth, detections, weights):
    named = named_values(matches_of(truth, detections), np.array(weights))
    return np.stack([named[name, ''] for name in AP_NAMES], axis=1)


def precisions(truth, detections):
    once = np.ones((1, len(truth['images'])))
    return weighted(truth, detections, once)[0]


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
    found = precisions(*scene)
    np.testing.assert_allclose(found, pycocotools_stats(*scene), rtol=1e-12)
    assert 0.1 < found[0] < found[1] < 1


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=6, max_size=6))
def test_weights_are_what_repeated_images_give(sample):
    scene = make_scene()
    found = weighted(*scene, [np.bincount(sample, minlength=6)])[0]
    expected = pycocotools_stats(*duplicated(*scene, sample))
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_more_than_100_detections_of_an_image(scene):
    truth, detections = scene
    scores = np.random.default_rng(5).random(150).tolist()
    many = [*detections, *(dict(detections[0], score=s) for s in scores)]
    coco_eval = evaluate(truth, many)
    precision = coco_eval.eval['precision']  # T, R, K, A, M
    found = precisions(truth, many)
    assert found[0] == pytest.approx(precision[:, :, :, 0, 0].mean())
    assert found[1] == pytest.approx(precision[0, :, :, 0, 1].mean())
    assert precision[0, :, :, 0, 1].mean() != precision[0, :, :, 0, 0].mean()


def test_images_without_objects_have_no_ap(scene):
    assert np.isnan(weighted(*scene, [[0, 0, 0, 0, 0, 1]])).all()


def test_no_detection_is_an_ap_of_zero(scene):
    assert precisions(scene[0], [])[0] == 0


def test_class_ap_and_curve_average_to_the_ap(scene):
    named = named_values(matches_of(*scene), np.ones((1, 6)))
    classes = [named['class AP', name] for name in ('tree', 'bush')]
    assert np.mean(classes) == pytest.approx(named['AP', ''][0])
    curve = precision_curve(evaluate(*scene), 0)
    assert curve.mean() == pytest.approx(named['AP50', ''][0])
    assert curve.shape == (101,)


def test_resamples_of_a_file(scene, tmp_path):
    proposals = [
        dict(img_id=i['id'], bboxes=np.zeros((0, 4)), scores=np.zeros(0))
        for i in scene[0]['images']
    ]
    recalls = evaluate_proposals(scene[0], proposals)
    matches = matches_of(*scene)
    save_matches(tmp_path / 'm.npz', {'': matches, '@10': matches}, recalls)
    found = resample(tmp_path / 'm.npz', 40)
    weights = draw_weights(6, 40)
    assert weights.sum(axis=1).tolist() == [6] * 40
    expected = weighted(*scene, weights)[:, 0]
    np.testing.assert_array_equal(found['AP', ''], expected)
    np.testing.assert_array_equal(found['AP', '@10'], expected)
    assert found['AR', '@10'].max() == 0


def test_false_positives_at_equal_recall():
    # By score: hit, miss, miss, hit, miss, of 4 objects in 2 images.
    scores = np.array([0.1, 0.9, 0.7, 0.8, 0.6])
    hits = np.array([False, True, False, False, True])
    found = false_positives(scores, hits, 4, 2)
    np.testing.assert_array_equal(found[:2], [0, 0])  # one object suffices
    np.testing.assert_array_equal(found[2:5], [1, 1, 1])  # two objects
    assert np.isnan(found[5:]).all()  # recall 0.6 is not reached


def test_pool_leaves_out_what_pycocotools_ignores(scene):
    matches = list(filter(None, by_area(evaluate(*scene), 'all').ravel()))
    scores, hits = pool(matches)
    counted = [
        (score, match > 0)
        for m in matches
        for score, match, ignored in zip(
            m['dtScores'], m['dtMatches'][0], m['dtIgnore'][0]
        )
        if not ignored
    ]
    assert list(zip(scores, hits)) == counted
    assert len(counted) < len(scene[1])  # some are on a crowd


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
            img_id=image['id'],
            bboxes=boxes,
            scores=np.array([d['score'] for d in own], dtype=np.float32),
            labels=np.array([int(d['category_id'] == 8) for d in own]),
        )
        packed += pack([instances], [3, 8], True)
        metric.results.append((None, instances))
    expected = metric.compute_metrics(metric.results)
    found = precisions(truth, packed)
    names = ('mAP', 'mAP_50', 'mAP_75', 'mAP_s', 'mAP_m', 'mAP_l')
    assert [round(value, 3) for value in found] == [
        expected[f'bbox_{name}'] for name in names
    ]


@pytest.mark.parametrize(
    'ids', [(0, 1, 2), (-1, 0, -7), (2**70, 2**53, 0), (5, 5, 5)]
)
def test_ids_are_labels(ids):
    truth, detections = perfect_detections(ids)
    found = precisions(truth, detections)
    assert found[0] == pytest.approx(1)


def test_what_is_optional_may_be_absent():
    truth, detections = perfect_detections((1, 2, 3))
    for annotation in truth['annotations']:
        del annotation['area'], annotation['iscrowd']
    found = precisions(truth, detections)
    named = dict(zip(AP_NAMES, found))
    assert named['AP'] == pytest.approx(1)
    assert named['AP_M'] == pytest.approx(1)  # of 40 by 40 pixels
    assert np.isnan(named['AP_S'])


def perfect_detections(ids):
    """Ground truth of these annotation ids, and detections equal to it."""
    boxes = [[0, 0, 40, 40], [60, 0, 40, 40], [0, 60, 40, 40]]
    places = [dict(image_id=0, category_id=0, bbox=box) for box in boxes]
    truth = dict(
        images=[dict(id=0)],
        categories=[dict(id=0, name='a')],
        annotations=[
            dict(place, id=own, area=1600, iscrowd=0)
            for place, own in zip(places, ids)
        ],
    )
    scores = (0.9, 0.8, 0.7)
    return truth, [dict(p, score=score) for p, score in zip(places, scores)]
