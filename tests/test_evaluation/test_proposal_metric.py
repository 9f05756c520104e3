"""ProposalMetric against a naive recall and mmdet's own metric."""

import inspect
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.evaluation import CocoMetric
from mmdet.registry import METRICS

from mmdet_klrpn.evaluation import ProposalMetric

IMAGES = 3


def random_boxes(generator, count):
    xy = generator.uniform(0, 150, (count, 2))
    wh = generator.uniform(8, 60, (count, 2))
    return np.concatenate([xy, xy + wh], axis=1)


def write_file(path, objects, categories):
    """Write annotations: rows of id, image, category, box and crowd."""
    annotations = [
        dict(
            id=own,
            image_id=image,
            category_id=category,
            bbox=list(box),
            area=box[2] * box[3],
            iscrowd=crowd,
        )
        for own, image, category, box, crowd in objects
    ]
    images = [
        dict(id=image, width=220, height=220)
        for image in dict.fromkeys(row[1] for row in objects)
    ]
    content = dict(
        images=images,
        annotations=annotations,
        categories=[dict(id=i, name=name) for i, name in categories.items()],
    )
    path.write_text(json.dumps(content))
    return str(path)


def predicted(image, boxes, scores, **fields):
    """A sample with proposals."""
    predictions = dict(
        bboxes=torch.as_tensor(boxes),
        scores=torch.as_tensor(scores),
        labels=torch.zeros(len(boxes), dtype=torch.long),
        **fields,
    )
    return dict(img_id=image, ori_shape=(220, 220), pred_instances=predictions)


@pytest.fixture
def data(tmp_path):
    """An annotation file, the objects and the proposals of some images."""
    generator = np.random.default_rng(0)
    objects, samples, rows = [], [], []
    for image in range(1, IMAGES + 1):
        boxes = random_boxes(generator, 6)
        objects.append(boxes)
        for x1, y1, x2, y2 in boxes:
            box, count = (x1, y1, x2 - x1, y2 - y1), len(rows)
            rows.append((count + 1, image, 1 + count % 2, box, 0))
        noisy = boxes + generator.normal(0, 3, boxes.shape)
        proposals = np.concatenate([noisy, random_boxes(generator, 20)])
        scores = generator.random(len(proposals))
        samples.append(predicted(image, proposals, scores))
    path = write_file(tmp_path / 'file.json', rows, {1: 'a', 2: 'b'})
    return path, objects, samples


def evaluate(metric, samples, classes=('a', 'b')):
    metric.dataset_meta = dict(classes=classes)
    metric.process({}, samples)
    return metric.evaluate(size=len(samples))


def iou(a, b):
    size = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    overlap = np.prod(np.maximum(size, 0))
    area = np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2])
    return overlap / (area - overlap)


def naive_recall(objects, samples, number):
    """Greedy matching by score, the best free object first."""
    recalls = []
    for threshold in np.linspace(0.5, 0.95, 10):
        hits = total = 0
        for boxes, sample in zip(objects, samples):
            predictions = sample['pred_instances']
            order = predictions['scores'].argsort(descending=True)[:number]
            free = list(range(len(boxes)))
            total += len(boxes)
            for proposal in predictions['bboxes'][order].numpy():
                overlaps = [iou(proposal, boxes[i]) for i in free]
                if free and max(overlaps) >= threshold:
                    free.pop(int(np.argmax(overlaps)))
                    hits += 1
        recalls.append(hits / total)
    return np.mean(recalls)


def test_equals_a_naive_recall(data):
    ann_file, objects, samples = data
    metric = ProposalMetric(ann_file, proposal_nums=(20, 3, 7))
    result = evaluate(metric, samples)
    for number in (3, 7, 20):
        expected = naive_recall(objects, samples, number)
        assert 0 < expected < 1
        assert result[f'proposal/AR@{number}'] == pytest.approx(expected)


def test_equals_coco_metric_where_its_labels_are_true(data):
    ann_file, _, samples = data
    numbers = (100, 300, 1000)
    ours = evaluate(ProposalMetric(ann_file, numbers), samples)
    theirs = evaluate(
        CocoMetric(ann_file, 'proposal', proposal_nums=numbers), samples
    )
    assert len(theirs) == 6
    assert sum('AR' in name for name in ours) == 6
    for name, value in theirs.items():
        name = name.replace('coco/', 'proposal/')
        assert ours[name] == pytest.approx(value, abs=6e-4), name


def test_no_proposal_and_no_large_object(data):
    ann_file, _, samples = data
    for sample in samples:
        predictions = sample['pred_instances']
        sample['pred_instances'] = {k: v[:0] for k, v in predictions.items()}
    result = evaluate(ProposalMetric(ann_file), samples)
    assert result['proposal/AR@100'] == 0
    assert result['proposal/AR_l@100'] == -1
    assert len(result) == 6


@pytest.fixture
def handmade(tmp_path):
    """Annotations with an object and a crowd, and four proposals."""
    rows = [
        (1, 1, 1, (0, 0, 10, 10), 0),
        (2, 1, 1, (50, 50, 20, 20), 1),
    ]
    boxes = [
        [0.0, 0, 10, 8],  # IoU 0.8
        [55, 55, 60, 60],  # in the crowd
        [0, 0, 10, 20],  # IoU 0.5
        [30, 30, 40, 40],
    ]
    stds = [[1.0] * 4, [9.0] * 4, [2.0, 2.0, 2.0, 10.0], [9.0] * 4]
    sample = predicted(
        1, boxes, [0.9, 0.8, 0.7, 0.2], bbox_stds=torch.tensor(stds)
    )
    return write_file(tmp_path / 'file.json', rows, {1: 'a'}), sample


def test_calibration_by_hand(handmade):
    """Errors are 0, but 2 of the first's bottom edge and -10 of the third's.

    In stds, 2 and -1; the stds are 1 seven times doubled three times, and 10.
    """
    ann_file, sample = handmade
    result = evaluate(ProposalMetric(ann_file), [sample])
    log_std = (3 * np.log(2) + np.log(10)) / 8
    expected = {
        'coverage@50': 6 / 8,
        'coverage@80': 7 / 8,
        'coverage@95': 7 / 8,
        'nll': log_std + 0.5 * np.log(2 * np.pi) + 0.5 * 5 / 8,
        'nll_constant': 0.5 * np.log(2 * np.pi * np.e * 104 / 8),
        'std_factor': np.sqrt(5 / 8),
        'std': 20 / 8,
        'relative_std': 2 / 8,
        'objectness_ece': (0.1 + 0.3 + 0.2) / 3,
        'objectness_brier': (0.01 + 0.09 + 0.04) / 3,
        'objectness_mean': 1.8 / 3,
        'hit_rate': 2 / 3,
    }
    for name, value in expected.items():
        assert result[f'proposal/{name}'] == pytest.approx(value), name
    assert 0 < result['proposal/std_error_correlation'] <= 1


def test_calibration_is_of_the_largest_number_of_proposals(handmade):
    ann_file, sample = handmade
    result = evaluate(ProposalMetric(ann_file, (1, 2)), [sample])
    assert result['proposal/hit_rate'] == 1
    assert result['proposal/std_factor'] == pytest.approx(1)
    assert result['proposal/objectness_mean'] == pytest.approx(0.9)


def test_figures_without_a_value_are_left_out(handmade):
    ann_file, sample = handmade
    predictions = sample['pred_instances']
    predictions['scores'] = predictions['scores'] * 5
    result = evaluate(ProposalMetric(ann_file), [sample])
    assert not any('objectness' in name for name in result)
    assert result['proposal/std_factor'] == pytest.approx(np.sqrt(5 / 8))

    predictions['scores'] = predictions['scores'] / 5
    del predictions['bbox_stds']
    result = evaluate(ProposalMetric(ann_file), [sample])
    assert not any('std' in name or 'nll' in name for name in result)
    assert result['proposal/hit_rate'] == pytest.approx(2 / 3)


def test_ranks_gather_the_calibration(data):
    """Two ranks, the second of which is padded with the first image."""
    ann_file, _, samples = data
    for i, sample in enumerate(samples):
        boxes = sample['pred_instances']['bboxes']
        sample['pred_instances']['bbox_stds'] = torch.full_like(boxes, i + 2.0)
    whole = evaluate(ProposalMetric(ann_file), samples)
    ranks = [ProposalMetric(ann_file) for _ in range(2)]
    for metric, own in zip(
        ranks, ([samples[0], samples[2]], [samples[1], samples[0]])
    ):
        metric.dataset_meta = dict(classes=('a', 'b'))
        for sample in own:
            metric.process({}, [sample])
    # As mmengine.dist gathers: in turns, and cut to the number of images.
    gathered = [
        pickle.loads(pickle.dumps(result))
        for turn in zip(*(metric.results for metric in ranks))
        for result in turn
    ]
    result = ranks[0].compute_metrics(gathered[:IMAGES])
    assert 'std_error_correlation' in result
    assert {f'proposal/{k}': v for k, v in result.items()} == whole


@pytest.mark.parametrize('classes', [('a',), ('c', 'b'), ('b', 'a', 'c')])
def test_objects_of_the_data_set_s_classes_count_as_in_coco_metric(
    data, classes
):
    """The file has them in another order, and one more."""
    ann_file, objects, samples = data
    categories = {10: 'd', 9: 'b', 8: 'c', 7: 'a'}
    flat = [(image, box) for image in range(IMAGES) for box in objects[image]]
    rows = [
        (i + 1, image + 1, 10 - i % 4, (*box[:2], *(box[2:] - box[:2])), 0)
        for i, (image, box) in enumerate(flat)
    ]
    write_file(Path(ann_file), rows, categories)
    numbers = (100, 300, 1000)
    ours = evaluate(ProposalMetric(ann_file, numbers), samples, classes)
    metric = CocoMetric(ann_file, 'proposal', proposal_nums=numbers)
    for name, value in evaluate(metric, samples, classes).items():
        name = name.replace('coco/', 'proposal/')
        assert ours[name] == pytest.approx(value, abs=6e-4), name


BOXES = [[10.0, 10, 40, 40], [70.0, 10, 50, 40], [10.0, 70, 40, 60]]


def make_file(path, ids=(1, 2, 3), categories=(1, 1, 1), image=1):
    """Write a file of three objects; proposals that are the same boxes."""
    rows = [
        (own, image, category, box, 0)
        for own, category, box in zip(ids, categories, BOXES)
    ]
    write_file(path, rows, dict(zip(sorted(set(categories)), 'ab')))
    boxes = np.array(BOXES)
    boxes[:, 2:] += boxes[:, :2]
    stds = torch.ones(3, 4)
    return predicted(image, boxes, [0.9, 0.8, 0.7], bbox_stds=stds)


@pytest.mark.parametrize(
    ('classes', 'hits', 'recall'),
    [
        (('a',), [1, 0, 1], 1.0),
        (('b',), [0, 1, 0], 0.0),
        (('b', 'a'), [1, 1, 1], 2 / 3),
        ('a', [1, 0, 1], 1.0),
        ((), [1, 1, 1], 2 / 3),
    ],
)
def test_objects_of_other_classes_are_none(classes, hits, recall, tmp_path):
    """The second object is a b; the first two proposals are on an a."""
    path = tmp_path / 'file.json'
    sample = make_file(path, categories=(1, 2, 1))
    predictions = sample['pred_instances']
    result = evaluate(ProposalMetric(str(path), (3,)), [sample], classes)
    assert result['proposal/AR@3'] == 1
    assert result['proposal/hit_rate'] == pytest.approx(np.mean(hits))
    brier = np.mean((predictions['scores'].numpy() - hits) ** 2)
    assert result['proposal/objectness_brier'] == pytest.approx(brier)

    predictions['scores'] = torch.tensor([0.9, 0.1, 0.8])
    result = evaluate(ProposalMetric(str(path), (2,)), [sample], classes)
    assert result['proposal/AR@2'] == pytest.approx(recall)


def test_all_of_the_file_count_where_no_classes_are_known(tmp_path):
    path = tmp_path / 'file.json'
    sample = make_file(path, categories=(1, 2, 1))
    metric = ProposalMetric(str(path), (2,))
    metric.process({}, [sample])
    result = metric.evaluate(size=1)
    assert result['proposal/AR@2'] == pytest.approx(2 / 3)
    # Joined data sets of several classes have several dicts.
    metric.dataset_meta = [dict(classes=('a',)), dict(classes=('b',))]
    metric.process({}, [sample])
    assert metric.evaluate(size=1) == result


def test_a_file_without_any_of_the_classes_is_refused(tmp_path):
    path = tmp_path / 'file.json'
    sample = make_file(path, categories=(1, 2, 1))
    message = r"file.json has 'a', 'b', and metainfo.classes are 'c'$"
    with pytest.raises(ValueError, match=message):
        evaluate(ProposalMetric(str(path)), [sample], ('c',))


@pytest.mark.parametrize(
    ('ids', 'image', 'category'),
    [
        ((0, 1, 2), 1, 1),
        ((2, 1, 0), 0, 0),
        ((-1, 0, -7), -3, -1),
        ((2**53 + 1, 2**53, 2**70), 2**63 + 1, 2**64),
        ((5, 5, 5), 1, 1),
    ],
)
def test_ids_are_labels(ids, image, category, tmp_path):
    path = tmp_path / 'file.json'
    sample = make_file(path, ids, [category] * 3, image)
    result = evaluate(ProposalMetric(str(path), (1, 3)), [sample], ('a',))
    assert result['proposal/AR@1'] == pytest.approx(1 / 3)
    assert result['proposal/AR@3'] == 1
    assert result['proposal/AR_m@3'] == 1
    assert result['proposal/hit_rate'] == 1


@pytest.mark.parametrize('absent', [True, False])
def test_what_is_optional_may_be_absent_or_null(absent, tmp_path):
    path = tmp_path / 'file.json'
    sample = make_file(path)
    full = evaluate(ProposalMetric(str(path)), [sample], ('a',))
    assert full['proposal/AR_m@100'] == 1
    content = json.loads(path.read_text())
    for annotation in content['annotations']:
        annotation.update(area=None, iscrowd=None)
        if absent:
            del annotation['area'], annotation['iscrowd']
    path.write_text(json.dumps(content))
    assert evaluate(ProposalMetric(str(path)), [sample], ('a',)) == full


def test_a_file_of_images_alone_has_nothing_to_recall(tmp_path):
    path = tmp_path / 'file.json'
    sample = make_file(path)
    content = json.loads(path.read_text())
    del content['annotations']
    path.write_text(json.dumps(content))
    result = evaluate(ProposalMetric(str(path)), [sample], ('a',))
    assert result['proposal/AR@100'] == -1
    assert result['proposal/hit_rate'] == 0


def test_takes_and_ignores_what_coco_metric_takes(data):
    ann_file, _, samples = data
    options = {
        name: parameter.default
        for name, parameter in inspect.signature(CocoMetric).parameters.items()
    }
    options.update(
        type='ProposalMetric',
        ann_file=ann_file,
        metric=['bbox', 'proposal_fast'],
        classwise=True,
        metric_items=['mAP'],
        outfile_prefix='none/such/folder',
        sort_categories=True,
        use_mp_eval=True,
        proposal_nums=(10, 30, 100),
    )
    result = evaluate(METRICS.build(options), samples)
    assert result == evaluate(ProposalMetric(ann_file), samples)
    one, alone = (
        evaluate(ProposalMetric(ann_file, iou_thrs=thresholds), samples)
        for thresholds in (0.5, [0.5])
    )
    assert one == alone != result


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(), 'ann_file must be the path'),
        (dict(ann_file='x', proposal_nums=()), 'proposal_nums must be'),
        (dict(ann_file='x', proposal_nums=(0, 10)), r'>= 1, but got \(0, 10'),
        (dict(ann_file='x', format_only=True), 'format_only must be False'),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ProposalMetric(**options)
