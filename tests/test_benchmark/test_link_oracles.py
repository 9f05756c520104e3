"""Each oracle makes perfect what it says, and nothing else."""

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from synthetic_runs import make_scene

from mmdet_klrpn.benchmark.detection import (
    average_precisions,
    evaluate,
    pack_detections,
)
from mmdet_klrpn.benchmark.links.oracles import (
    BOXES,
    CLASSIFICATION,
    DETECTOR,
    PROPOSALS,
    WEIGHTED,
    Refined,
    detect_each_way,
    oracle_boxes,
    oracle_classification,
    precision_row,
)

GT_BBOXES = torch.tensor(
    [[0, 0, 20, 20], [40, 0, 70, 30], [0, 50, 40, 90.0], [50, 50, 60, 90]]
)
GT_LABELS = torch.tensor([0, 1, 1, 0])
TEST_CFG = ConfigDict(
    score_thr=0.05, nms=dict(type='nms', iou_threshold=0.5), max_per_img=100
)
TRUTH = dict(
    images=[dict(id=7, width=100, height=100)],
    categories=[dict(id=4, name='a'), dict(id=2, name='b')],
    annotations=[
        dict(
            id=i,
            image_id=7,
            category_id=(4, 2)[label],
            bbox=[x1, y1, x2 - x1, y2 - y1],
            area=(x2 - x1) * (y2 - y1),
            iscrowd=0,
        )
        for i, (label, (x1, y1, x2, y2)) in enumerate(
            zip(GT_LABELS.tolist(), GT_BBOXES.tolist()), 1
        )
    ],
)


def one_hot(labels, value=0.9):
    scores = torch.full((len(labels), 3), (1 - value) / 2)
    scores[torch.arange(len(labels)), labels] = value
    return scores


def refined(proposals=GT_BBOXES, bboxes=None, labels=GT_LABELS):
    """A bbox head's output, perfect in all that is not given."""
    boxes = proposals if bboxes is None else bboxes
    return Refined(proposals, boxes[:, None].repeat(1, 2, 1), one_hot(labels))


def precisions(own, given=None):
    found = detect_each_way(
        own,
        refined() if given is None else given,
        (GT_BBOXES, GT_LABELS),
        TEST_CFG,
    )
    return {
        way: precision_row(TRUTH, pack_detections(7, instances, [4, 2]), {})[
            'AP'
        ]
        for way, instances in found.items()
    }


# So that its IoU with the object is below 0.5.
FAR = GT_BBOXES + torch.tensor([8.0, 10, 8, 10])
WRONG = 1 - GT_LABELS
BACKGROUND = torch.full((4,), 2)
# IoU 0.76 to 0.82: found at 0.5 to 0.75, but not at 0.85.
NEAR = GT_BBOXES * torch.tensor([1, 1, 1, 1.0])
NEAR[:, 3] -= (NEAR[:, 3] - NEAR[:, 1]) * 0.22


@pytest.mark.parametrize(
    ('own', 'expected'),
    [
        (refined(), (1, 1, 1)),
        # Boxes are right, classes are not: only their oracle helps.
        (refined(labels=WRONG), (0, 1, 0)),
        (refined(labels=BACKGROUND), (0, 1, 0)),
        # Classes are right, the regression is not: only its oracle helps.
        (refined(bboxes=FAR), (0, 0, 1)),
        (refined(bboxes=NEAR), (0.6, 0.6, 1)),
        # Proposals are off, but the regression mends them: the boxes' oracle
        # looks at the proposals and leaves the others alone.
        (refined(proposals=FAR, bboxes=GT_BBOXES), (1, 1, 1)),
        (refined(proposals=FAR), (0, 0, 0)),
    ],
)
def test_each_oracle_mends_its_own_link(own, expected):
    found = precisions(own)
    ways = DETECTOR, CLASSIFICATION, BOXES
    assert [found[way] for way in ways] == pytest.approx(list(expected))
    assert found[PROPOSALS] == 1  # whatever the detector's own proposals are


def test_given_proposals_stay_the_detectors_to_judge():
    found = precisions(refined(), refined(labels=WRONG))
    assert [found[DETECTOR], found[PROPOSALS]] == [1, 0]
    found = precisions(refined(), refined(bboxes=NEAR))
    assert found[PROPOSALS] == pytest.approx(0.6)


def test_no_proposal_detects_nothing():
    own = refined()
    none = Refined(own.proposals[:0], own.bboxes[:0], own.scores[:0])
    assert precisions(none) == {
        DETECTOR: 0,
        CLASSIFICATION: 0,
        BOXES: 0,
        PROPOSALS: 1,
    }


def test_no_object_leaves_boxes_alone_and_drops_every_class():
    own = refined()
    none = GT_BBOXES[:0], GT_LABELS[:0]
    assert not oracle_classification(own, *none).scores.any()
    assert torch.equal(oracle_boxes(own, none[0]).bboxes, own.bboxes)


def naive_iou(one, other):
    low = torch.maximum(one[:2], other[:2])
    high = torch.minimum(one[2:], other[2:])
    common = (high - low).clamp(min=0).prod()
    areas = [(b[2:] - b[:2]).prod() for b in (one, other)]
    return float(common / (sum(areas) - common))


def test_against_loops():
    generator = torch.Generator().manual_seed(0)
    near = GT_BBOXES.repeat(50, 1)
    shape = (200, 2, 4)
    noise = torch.randn(shape, generator=generator)
    own = Refined(
        near + 5 * torch.randn(200, 4, generator=generator),
        near[:, None] + 5 * noise,
        torch.rand(200, 3, generator=generator).softmax(1),
    )
    scored = oracle_classification(own, GT_BBOXES, GT_LABELS)
    moved = oracle_boxes(own, GT_BBOXES)
    assert torch.equal(scored.bboxes, own.bboxes)
    assert torch.equal(moved.scores, own.scores)
    for i in range(200):
        # Of each object, the box that its own class gives.
        ious = [
            naive_iou(own.bboxes[i, label], box)
            for box, label in zip(GT_BBOXES, GT_LABELS)
        ]
        best = int(np.argmax(ious))
        expected = torch.zeros(3)
        if ious[best] >= 0.5:
            expected[GT_LABELS[best]] = ious[best]
        torch.testing.assert_close(scored.scores[i], expected)

        ious = [naive_iou(own.proposals[i], box) for box in GT_BBOXES]
        best = int(np.argmax(ious))
        expected = own.bboxes[i]
        if ious[best] >= 0.5:
            expected = GT_BBOXES[best].expand(2, 4)
        torch.testing.assert_close(moved.bboxes[i], expected)
    hits = scored.scores.any(dim=1).float().mean()
    assert 0.3 < hits < 0.9


def test_precision_by_class_and_by_objects():
    truth, detections = make_scene()
    # Of which COCO's order is another, and one has no object.
    truth['categories'] = [
        dict(id=8, name='bush'),
        dict(id=5, name='rock'),
        dict(id=3, name='tree'),
    ]
    row = precision_row(truth, detections, {})
    alone = {}
    for category in truth['categories']:
        own = dict(truth, categories=[category])
        own['annotations'] = [
            a
            for a in truth['annotations']
            if a['category_id'] == category['id']
        ]
        found = [d for d in detections if d['category_id'] == category['id']]
        alone[category['name']] = precision_row(own, found, {})
        assert list(alone[category['name']]) == ['AP', 'AP50', 'AP75']
    assert row['rock'] is None
    assert row['bush'] == pytest.approx(alone['bush']['AP'])
    assert row['tree'] == pytest.approx(alone['tree']['AP'])
    assert row['AP'] == pytest.approx((row['bush'] + row['tree']) / 2)
    numbers = [
        sum(
            annotation['category_id'] == i and not annotation['iscrowd']
            for annotation in truth['annotations']
        )
        for i in (8, 3)
    ]
    weighted = np.average([row['bush'], row['tree']], weights=numbers)
    assert row[WEIGHTED] == pytest.approx(weighted)
    assert abs(row['bush'] - row['tree']) > 0.01


def test_precision_of_sizes():
    truth, detections = make_scene()
    areas = {
        'tiny': (0, 100.0),
        'a': (0, 32**2),
        'b': (32**2, 96**2),
        'c': (96**2, 1e10),
    }
    row = precision_row(truth, detections, areas)
    expected = average_precisions(evaluate(truth, detections))
    assert row['tiny'] is None
    # COCO's are at 1000 detections of an image, here as many as at 100.
    found = [row[name] for name in 'abc']
    assert found == pytest.approx(expected[3:].tolist())
    assert len(set(found)) == 3
    # By the boxes' areas, whatever the masks' are.
    for annotation in truth['annotations']:
        annotation['area'] = 1
    assert precision_row(truth, detections, areas) == row
