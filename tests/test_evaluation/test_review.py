"""Which boxes to look at again."""

import numpy as np
import pytest
import torch
from mmcv.ops import bbox_overlaps

from mmdet_klrpn.evaluation.functional import box_ious, review


def boxes(count):
    generator = np.random.default_rng(0)
    corners = generator.uniform(0, 50, (count, 2))
    sizes = generator.uniform(20, 60, (count, 2))
    objects = np.concatenate([corners, corners + sizes], axis=1)
    errors = generator.normal(0, 3, (count, 4))
    return objects, errors, np.tile(sizes, 2)


def test_iou_of_errors_is_that_of_the_boxes():
    objects, errors, sizes = boxes(50)
    found = objects - errors
    expected = bbox_overlaps(
        torch.tensor(found).float(),
        torch.tensor(objects).float(),
        aligned=True,
    )
    np.testing.assert_allclose(box_ious(errors, sizes), expected, rtol=1e-5)


def test_flags_are_the_largest_shares_and_the_lowest_scores():
    objects, errors, sizes = boxes(40)
    poor = box_ious(errors, sizes) < 0.75
    assert 4 < poor.sum() < 30
    found = objects - errors
    extents = np.tile(found[:, 2:] - found[:, :2], 2)
    # Of four flagged by std all are poor; of four by score, one is.
    stds = extents * np.where(poor, 0.5, 0.1)[:, None]
    scores = np.ones(40)
    scores[poor.nonzero()[0][0]] = 0.1
    scores[(~poor).nonzero()[0][:3]] = 0.2
    figures = review(errors, stds, sizes, scores)
    assert figures == pytest.approx(
        dict(poor=poor.mean(), poor_by_std=1.0, poor_by_score=0.25)
    )


def test_nothing_to_review():
    none = np.zeros((0, 4))
    assert review(none, none, none, np.zeros(0)) == {}
