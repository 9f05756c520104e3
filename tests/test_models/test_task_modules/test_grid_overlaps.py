"""Pairs of objects and anchors against the matrix of all."""

import pytest
import torch
from mmdet.models.task_modules.assigners import BboxOverlaps2D
from mmdet.models.task_modules.prior_generators import AnchorGenerator

from mmdet_klrpn.models.task_modules import AnchorGrid, inside_cells
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
def inside(grid):
    shapes = ((200, 336), (150, 336), (200, 250))
    metas = [dict(pad_shape=x, img_shape=x) for x in shapes]
    return inside_cells(grid, metas, border=16)


def matrix(grid, batch, inside):
    """IoU of every object (G, ) with every anchor (N * R, ) of its image."""
    full = torch.zeros(sum(map(len, batch)), len(batch) * grid.num_anchors)
    row = 0
    for i, bboxes in enumerate(batch):
        ious = BboxOverlaps2D()(bboxes, grid.all_boxes()) * inside.mask()[i]
        column = i * grid.num_anchors
        full[row : row + len(bboxes), column : column + ious.shape[1]] = ious
        row += len(bboxes)
    return full


def as_matrix(overlaps, pairs):
    """The same of pairs, 0 of those that are not listed."""
    found = torch.zeros(overlaps.num_objects, overlaps.num_anchors)
    found[pairs.objects, pairs.index] = overlaps.ious(pairs)
    return found


def pairs_of(overlaps, iou):
    windows = overlaps.windows(iou)
    return overlaps.pairs_in(windows, int(windows.numbers.sum()))


def test_windows_hold_all_that_reach_the_iou(grid, batch, inside):
    overlaps = GridOverlaps(BboxOverlaps2D(), grid, batch, inside)
    pairs = pairs_of(overlaps, LEAST_IOU)
    expected = matrix(grid, batch, inside)
    found = as_matrix(overlaps, pairs)
    reached = expected >= LEAST_IOU
    assert reached.sum() > 100
    assert torch.equal(found[reached], expected[reached])
    assert torch.equal(found[found > 0], expected[found > 0])
    assert len(pairs.objects) < expected.numel() / 20
    assert (pairs.objects.diff() >= 0).all()


def test_an_iou_for_each_object_and_base_anchor(grid, batch, inside):
    overlaps = GridOverlaps(BboxOverlaps2D(), grid, batch, inside)
    generator = torch.Generator().manual_seed(1)
    ious = torch.rand((50, 6), generator=generator).clamp(min=0.1)
    found = as_matrix(overlaps, pairs_of(overlaps, ious))
    index = torch.arange(overlaps.num_anchors) % grid.num_anchors
    expected = matrix(grid, batch, inside)
    reached = expected >= ious[:, grid.locate(index).base]
    assert reached.sum() > 100
    assert torch.equal(found[reached], expected[reached])


def test_several_sets_of_windows(grid, batch, inside):
    overlaps = GridOverlaps(BboxOverlaps2D(), grid, batch, inside)
    ious = torch.tensor([0.2, 0.6])[:, None, None].expand(2, 50, 6)
    for i, iou in enumerate((0.2, 0.6)):
        expected = overlaps.windows(iou)
        for both, one in zip(overlaps.windows(ious), expected):
            assert torch.equal(both[i], one)


@pytest.mark.parametrize('number', [1, 4, 9, 30])
def test_blocks_have_so_many_anchors_of_an_iou(grid, batch, inside, number):
    overlaps = GridOverlaps(BboxOverlaps2D(), grid, batch, inside)
    worst, best = overlaps.block_ious(number)
    index = torch.arange(overlaps.num_anchors) % grid.num_anchors
    base = grid.locate(index).base
    full = matrix(grid, batch, inside)
    for k in range(6):
        ious = full[:, base == k]
        reached = (ious >= worst[:, k, None] * 0.999).sum(dim=1)
        assert ((reached >= number) | (worst[:, k] == 0)).all()
        torch.testing.assert_close(ious.max(dim=1).values, best[:, k])
    assert (worst > 0.1).sum() > 20


def test_anchors_that_are_in_windows(grid, batch):
    overlaps = GridOverlaps(BboxOverlaps2D(), grid, batch)
    generator = torch.Generator().manual_seed(2)
    anchors = torch.randperm(overlaps.num_anchors, generator=generator)[:1500]
    anchors = torch.cat([anchors, anchors[:10]])  # some of them twice
    windows = overlaps.windows(LEAST_IOU)
    cells = overlaps.pairs_in(windows, int(windows.numbers.sum()))
    num_rows = int(windows.shape[..., 1].sum())
    objects, found = overlaps.find_in(windows, num_rows, anchors)
    actual = torch.stack([objects, anchors[found]])
    listed = (cells.index[:, None] == anchors).nonzero()
    expected = torch.stack(
        [cells.objects[listed[:, 0]], anchors[listed[:, 1]]]
    )
    assert listed.numel() > 100
    assert sorted(actual.T.tolist()) == sorted(expected.T.tolist())
    none = torch.zeros(0, dtype=torch.long)
    assert len(overlaps.find_in(windows, num_rows, none)[0]) == 0


def test_what_is_not_finite_is_told(grid):
    bboxes = torch.tensor([[0.0, 0.0, float('inf'), 9.0]])
    overlaps = GridOverlaps(BboxOverlaps2D(), grid, [bboxes])
    assert not overlaps.are_finite()


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
