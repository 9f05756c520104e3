"""Each oracle makes perfect what it says, and nothing else."""

import numpy as np
import pytest
import torch
from links.measure import class_agnostic, precisions
from links.oracles import (
    POWERS,
    Refined,
    detect,
    detect_by_objectness,
    detect_each_way,
    oracle_boxes,
    oracle_classification,
)
from mmengine.config import ConfigDict

from mmdet_klrpn.models.roi_heads import weigh_by_objectness

GT_BBOXES = torch.tensor(
    [[0, 0, 20, 20], [40, 0, 70, 30], [0, 50, 40, 90.0], [50, 50, 60, 90]]
)
GT_LABELS = torch.tensor([0, 1, 1, 0])
TEST_CFG = ConfigDict(
    score_thr=0.05, nms=dict(type='nms', iou_threshold=0.5), max_per_img=100
)
# The order of the categories is that of the labels, not of the ids.
TRUTH = dict(
    images=[dict(id=7, width=100, height=100)],
    categories=[dict(id=4, name='a'), dict(id=2, name='b')],
    annotations=[
        dict(
            id=i,
            image_id=7,
            category_id=(4, 2)[label],
            bbox=[x1, y1, x2 - x1, y2 - y1],
            area=1,  # a mask's, which does not matter
            iscrowd=0,
        )
        for i, (label, (x1, y1, x2, y2)) in enumerate(
            zip(GT_LABELS.tolist(), GT_BBOXES.tolist()), 1
        )
    ],
)
EDGES = np.array([20.0, 25, 35])  # sizes are 20, 20, 30 and 40


def refined(proposals=GT_BBOXES, bboxes=None, labels=GT_LABELS):
    """A bbox head's output, perfect in all that is not given."""
    boxes = proposals if bboxes is None else bboxes
    scores = torch.full((len(labels), 3), 0.05)
    scores[torch.arange(len(labels)), labels] = 0.9
    return Refined(proposals, boxes[:, None].repeat(1, 2, 1), scores)


def measure(found, truth=TRUTH):
    frame = precisions(truth, [dict(found, img_id=7)], EDGES)
    return frame.set_index('group')['value']


def ways(own, given=None):
    """AP in the four ways."""
    given = refined() if given is None else given
    found = detect_each_way(own, given, GT_BBOXES, GT_LABELS, TEST_CFG)
    return [measure(instances)['AP'] for instances in found.values()]


# So that its IoU with the object is below 0.5.
FAR = GT_BBOXES + torch.tensor([8.0, 10, 8, 10])
# IoU 0.78: found at 0.5 to 0.75, not at 0.8.
NEAR = GT_BBOXES.clone()
NEAR[:, 3] -= (NEAR[:, 3] - NEAR[:, 1]) * 0.22


@pytest.mark.parametrize(
    ('own', 'expected'),
    [
        (refined(), (1, 1, 1)),
        # Boxes are right, classes are not: only their oracle helps.
        (refined(labels=1 - GT_LABELS), (0, 1, 0)),
        (refined(labels=torch.full((4,), 2)), (0, 1, 0)),
        # Classes are right, the regression is not: only its oracle helps.
        (refined(bboxes=FAR), (0, 0, 1)),
        (refined(bboxes=NEAR), (0.6, 0.6, 1)),
        # Proposals are off, but the regression mends them: the boxes' oracle
        # looks at the proposals and leaves the others alone.
        (refined(proposals=FAR, bboxes=GT_BBOXES), (1, 1, 1)),
        (refined(proposals=FAR), (0, 0, 0)),
        (Refined(*(part[:0] for part in refined())), (0, 0, 0)),
    ],
)
def test_each_oracle_mends_its_own_link(own, expected):
    # Given proposals are whatever the detector's own proposals are.
    assert ways(own) == pytest.approx([*expected, 1])


def test_given_proposals_stay_the_detectors_to_judge():
    assert ways(refined(), refined(labels=1 - GT_LABELS))[-1] == 0
    found = ways(refined(), refined(bboxes=NEAR))
    assert found[-1] == pytest.approx(0.6)


def test_no_object_leaves_boxes_alone_and_drops_every_class():
    own, none = refined(), (GT_BBOXES[:0], GT_LABELS[:0])
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
    own = Refined(
        near + 5 * torch.randn(200, 4, generator=generator),
        near[:, None] + 5 * torch.randn((200, 2, 4), generator=generator),
        torch.rand(200, 3, generator=generator).softmax(1),
    )
    scored = oracle_classification(own, GT_BBOXES, GT_LABELS)
    moved = oracle_boxes(own, GT_BBOXES)
    assert torch.equal(scored.bboxes, own.bboxes)
    assert torch.equal(moved.scores, own.scores)
    for i in range(200):
        ious = [
            naive_iou(own.bboxes[i, label], box)
            for box, label in zip(GT_BBOXES, GT_LABELS)
        ]
        best, expected = int(np.argmax(ious)), torch.zeros(3)
        if ious[best] >= 0.5:
            expected[GT_LABELS[best]] = ious[best]
        torch.testing.assert_close(scored.scores[i], expected)
        ious = [naive_iou(own.proposals[i], box) for box in GT_BBOXES]
        best, expected = int(np.argmax(ious)), own.bboxes[i]
        if ious[best] >= 0.5:
            expected = GT_BBOXES[best].expand(2, 4)
        torch.testing.assert_close(moved.bboxes[i], expected)
    assert 0.3 < scored.scores.any(dim=1).float().mean() < 0.9


def test_precisions_by_class_and_size():
    # The second object is missed, which is one of two of its class, and one
    # of the two in the first quarter, an object of whose upper edge is in it.
    keep = torch.tensor([0, 2, 3])
    own = refined(GT_BBOXES[keep], labels=GT_LABELS[keep])
    found = measure(detect(own, TEST_CFG, 0.05))
    half = 51 / 101  # precision is 1 up to a recall of 0.5
    expected = {
        **{'AP': (1 + half) / 2, 'AP50': (1 + half) / 2},
        **{'class: a': 1, 'class: b': half, 'Q1': 1, 'Q3': 0, 'Q4': 1},
    }
    assert found[list(expected)].to_dict() == pytest.approx(expected)
    assert np.isnan(found['Q2'])


def test_ranking_is_whatever_the_class():
    truth = class_agnostic(TRUTH)
    proposals = dict(
        bboxes=np.concatenate([GT_BBOXES.numpy(), [[80, 80, 99, 99.0]]]),
        scores=np.array([0.9, 0.8, 0.3, 0.2, 0.5]),
        labels=np.zeros(5, dtype=int),
    )
    found = measure(proposals, truth)
    # Two objects, background, two objects: precision 1 up to a recall of 0.5,
    # then 4 / 5.
    assert found['AP'] == pytest.approx((51 + 50 * 0.8) / 101)
    assert list(found.index) == ['AP', 'AP50', 'AP75', 'Q1', 'Q2', 'Q3', 'Q4']


def test_scores_of_both_stages_are_those_of_the_head():
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand((150, 2), generator=generator) * 100
    sides = 10 + torch.rand((150, 2), generator=generator) * 40
    boxes = torch.cat([corners, corners + sides], dim=1)
    logits = torch.randn((150, 3), generator=generator) * 3
    objectness, _ = torch.rand(150, generator=generator).sort(descending=True)
    own = Refined(boxes, boxes[:, None].repeat(1, 2, 1), logits.softmax(1))
    found = iter(detect_by_objectness(own, objectness, TEST_CFG).items())
    for number, powers in POWERS.items():
        best = Refined(*(part[:number] for part in own))
        for power in powers:
            weighed = weigh_by_objectness(
                logits[:number], objectness[:number], power
            )
            scores = weighed.softmax(dim=1)
            expected = detect(best._replace(scores=scores), TEST_CFG, 0.05)
            name, actual = next(found)
            assert name == f'{number or "all"} proposals, power {power:g}'
            assert len(actual['scores']) > 0
            for key, value in expected.items():
                assert actual[key] == pytest.approx(value, rel=1e-4)
