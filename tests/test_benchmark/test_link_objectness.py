"""Detections by both stages' scores, next to the head that makes them."""

import pytest
import torch
from mmengine.config import ConfigDict

from mmdet_klrpn.benchmark.links.objectness import (
    POWERS,
    detect_by_objectness,
    name_of,
)
from mmdet_klrpn.benchmark.links.oracles import Refined, detect
from mmdet_klrpn.models.roi_heads import weigh_by_objectness

TEST_CFG = ConfigDict(
    score_thr=0.05, nms=dict(type='nms', iou_threshold=0.5), max_per_img=100
)


def make(number):
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand((number, 2), generator=generator) * 100
    sides = 10 + torch.rand((number, 2), generator=generator) * 40
    boxes = torch.cat([corners, corners + sides], dim=1)
    logits = torch.randn((number, 3), generator=generator) * 3
    objectness = torch.rand(number, generator=generator).sort(descending=True)
    refined = Refined(boxes, boxes[:, None].repeat(1, 2, 1), logits.softmax(1))
    return refined, logits, objectness.values


def test_is_what_the_head_detects():
    refined, logits, objectness = make(150)
    found = detect_by_objectness(refined, objectness, TEST_CFG)
    assert len(found) == sum(map(len, POWERS.values())) == 8
    for number, powers in POWERS.items():
        best = Refined(*(part[:number] for part in refined))
        for power in powers:
            weighed = weigh_by_objectness(
                logits[:number], objectness[:number], power
            )
            expected = detect(
                best._replace(scores=weighed.softmax(dim=1)), TEST_CFG, 0.05
            )
            actual = found[name_of(number, power)]
            assert len(actual['scores']) > 0
            for key, values in expected.items():
                assert actual[key] == pytest.approx(values, rel=1e-4)


def test_no_proposal_detects_nothing():
    refined, _, objectness = make(0)
    found = detect_by_objectness(refined, objectness, TEST_CFG)
    assert all(len(each['scores']) == 0 for each in found.values())
