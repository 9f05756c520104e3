"""Pairs of objects and anchors against the matrix of all."""

import pytest
import torch
from mmdet.models.task_modules.assigners import BboxOverlaps2D
from mmdet.models.task_modules.prior_generators import AnchorGenerator

from mmdet_klrpn.models.task_modules import AnchorGrid
from mmdet_klrpn.models.task_modules.assigners.grid_overlaps import (
    GridOverlaps,
)

CPU = torch.device('cpu')
SIZES = ((25, 42), (13, 21))
LEAST_IOU = 0.2


@pytest.fixture
def grid():
    generator = AnchorGenerator([8, 16], [0.5, 1.0, 2.0], scales=[4])
    return AnchorGrid(generator, SIZES, CPU)


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)

    def boxes(count):
        corners = torch.rand((count, 2), generator=generator) * 300
        sides = torch.rand((count, 2), generator=generator) * 80
        return torch.cat([corners, corners + sides], dim=1)

    return [boxes(20), boxes(0), boxes(30)]


@pytest.fixture
def inside(grid, batch):
    generator = torch.Generator().manual_seed(1)
    shape = (len(batch), grid.num_anchors)
    return torch.rand(shape, generator=generator) < 0.7


def matrix(grid, batch, inside):
    """IoU of every object (G, ) with every anchor (N * R, ) of its image."""
    full = torch.zeros(sum(map(len, batch)), len(batch) * grid.num_anchors)
    row = 0
    for i, bboxes in enumerate(batch):
        ious = BboxOverlaps2D()(bboxes, grid.all_boxes()) * inside[i]
        column = i * grid.num_anchors
        full[row : row + len(bboxes), column : column + ious.shape[1]] = ious
        row += len(bboxes)
    return full


def as_matrix(overlaps, pairs):
    """The same of pairs, 0 of those that are not listed."""
    found = torch.zeros(overlaps.num_objects, overlaps.num_anchors)
    found[pairs.objects, pairs.index] = pairs.overlaps
    return found


def test_windows_hold_all_that_reach_the_iou(grid, batch, inside):
    overlaps = GridOverlaps(BboxOverlaps2D(), grid, batch, inside)
    pairs = overlaps.within(overlaps.windows(LEAST_IOU))
    expected = matrix(grid, batch, inside)
    found = as_matrix(overlaps, pairs)
    reached = expected >= LEAST_IOU
    assert reached.sum() > 100
    assert torch.equal(found[reached], expected[reached])
    assert torch.equal(found[found > 0], expected[found > 0])
    assert len(pairs.objects) < expected.numel() / 20


def test_pairs_of_some_objects_and_some_anchors(grid, batch, inside):
    overlaps = GridOverlaps(BboxOverlaps2D(), grid, batch, inside)
    generator = torch.Generator().manual_seed(2)
    objects = torch.rand(overlaps.num_objects, generator=generator) < 0.5
    anchors = torch.randperm(overlaps.num_anchors, generator=generator)[:1500]
    anchors = torch.cat([anchors, anchors[:10]])  # some of them twice
    windows = overlaps.windows(LEAST_IOU).of(objects)
    pairs = overlaps.among(windows, anchors)
    assert objects[pairs.objects].all()
    assert torch.isin(pairs.index, anchors).all()
    expected = as_matrix(overlaps, overlaps.within(windows))
    expected[:, ~torch.isin(torch.arange(overlaps.num_anchors), anchors)] = 0
    assert (expected > 0).sum() > 20
    assert torch.equal(as_matrix(overlaps, pairs), expected)


def test_no_pairs_of_no_anchors_and_of_no_objects(grid, batch, inside):
    overlaps = GridOverlaps(BboxOverlaps2D(), grid, batch, inside)
    windows = overlaps.windows(LEAST_IOU)
    none = torch.zeros(0, dtype=torch.long)
    assert len(overlaps.among(windows, none).index) == 0
    nothing = windows.of(torch.zeros(overlaps.num_objects, dtype=torch.bool))
    anchors = torch.arange(overlaps.num_anchors)
    assert len(overlaps.among(nothing, anchors).index) == 0
    assert len(overlaps.within(nothing).index) == 0


def test_what_is_not_finite_is_refused(grid):
    bboxes = torch.tensor([[0.0, 0.0, float('inf'), 9.0]])
    overlaps = GridOverlaps(BboxOverlaps2D(), grid, [bboxes])
    assert overlaps.within(overlaps.windows(LEAST_IOU)) is None


def test_work_does_not_grow_with_the_map():
    """Candidates, not anchors, get their IoU computed."""
    bboxes = torch.tensor([[100.0, 100.0, 164.0, 132.0]])
    generator = AnchorGenerator([4, 8, 16], [0.5, 1.0, 2.0], scales=[8])
    numbers = []
    for scale in (1, 4):
        sizes = [(h * scale, w * scale) for h, w in ((50, 84), *SIZES)]
        grid = AnchorGrid(generator, sizes, CPU)
        overlaps = GridOverlaps(BboxOverlaps2D(), grid, [bboxes])
        numbers.append(int(overlaps.windows(0.3).numbers.sum()))
    assert 0 < numbers[0] == numbers[1] < 1000
