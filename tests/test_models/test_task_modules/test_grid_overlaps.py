"""Pairs of objects and anchors against the matrix of all."""

import pytest
import torch
from mmdet.models.task_modules.assigners import BboxOverlaps2D
from mmdet.models.task_modules.prior_generators import AnchorGenerator

from mmdet_klrpn.models.task_modules import AnchorGrid, inside_cells
from mmdet_klrpn.models.task_modules.assigners.grid_overlaps import (
    GridOverlaps,
    Runs,
)
from mmdet_klrpn.models.task_modules.assigners.grid_windows import (
    ObjectWindows,
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
        ious = BboxOverlaps2D()(bboxes, grid.all_boxes())
        if inside is not None:
            ious = ious * inside.mask()[i]
        column = i * grid.num_anchors
        full[row : row + len(bboxes), column : column + ious.shape[1]] = ious
        row += len(bboxes)
    return full


def build(grid, batch, inside=None):
    """Overlaps, and windows of the same objects."""
    overlaps = GridOverlaps(grid, batch)
    args = (grid, overlaps.boxes, overlaps.images, inside)
    return overlaps, ObjectWindows(*args)


def as_matrix(overlaps, pairs):
    """The same of pairs, 0 of those that are not listed."""
    found = torch.zeros(overlaps.num_objects, overlaps.num_anchors)
    found[pairs.objects, pairs.index] = pairs.overlaps
    return found


def runs_and_cells(overlaps, windows):
    cells, rows = overlaps.count(windows)
    return overlaps.runs_of(windows, rows), cells


def pairs_of(overlaps, windows, iou):
    runs = runs_and_cells(overlaps, windows.reaching(iou))
    return overlaps.pairs_in(*runs)


def test_windows_hold_all_that_reach_the_iou(grid, batch, inside):
    overlaps, windows = build(grid, batch, inside)
    pairs = pairs_of(overlaps, windows, LEAST_IOU)
    expected = matrix(grid, batch, inside)
    found = as_matrix(overlaps, pairs)
    reached = expected >= LEAST_IOU
    assert reached.sum() > 100
    assert torch.equal(found[reached], expected[reached])
    assert torch.equal(found[found > 0], expected[found > 0])
    assert len(pairs.objects) < expected.numel() / 20
    assert (pairs.objects.diff() >= 0).all()


def test_an_iou_for_each_object_and_base_anchor(grid, batch, inside):
    overlaps, windows = build(grid, batch, inside)
    generator = torch.Generator().manual_seed(1)
    ious = torch.rand((50, 6), generator=generator).clamp(min=0.1)
    found = as_matrix(overlaps, pairs_of(overlaps, windows, ious))
    index = torch.arange(overlaps.num_anchors) % grid.num_anchors
    expected = matrix(grid, batch, inside)
    reached = expected >= ious[:, grid.locate(index).base]
    assert reached.sum() > 100
    assert torch.equal(found[reached], expected[reached])


def test_several_sets_of_windows(grid, batch, inside):
    overlaps, windows = build(grid, batch, inside)
    ious = torch.tensor([0.2, 0.6, 2.0])[:, None, None].expand(3, 50, 6)
    several = windows.reaching(ious)
    for i, iou in enumerate((0.2, 0.6)):
        for both, one in zip(several, windows.reaching(iou)):
            assert torch.equal(both[:, i], one[:, 0])
    assert (several.shape[:, 2] == 0).all()  # no anchor has an IoU of 2
    cells, *rows = overlaps.count(several)
    width, height = several.shape
    assert cells == (width[0] * height[0]).sum()
    assert rows == height.sum((1, 2)).tolist()


@pytest.mark.parametrize('number', [1, 4, 9, 30])
def test_blocks_have_so_many_anchors_of_an_iou(grid, batch, inside, number):
    overlaps, windows = build(grid, batch, inside)
    worst, best = windows.block_ious(number), windows.centred_ious()
    index = torch.arange(overlaps.num_anchors) % grid.num_anchors
    base = grid.locate(index).base
    full = matrix(grid, batch, inside)
    for k in range(6):
        ious = full[:, base == k]
        reached = (ious >= worst[:, k, None] * 0.999).sum(dim=1)
        assert ((reached >= number) | (worst[:, k] == 0)).all()
        assert (ious.max(dim=1).values <= best[:, k] * 1.001).all()
    assert (worst > 0.1).sum() > 20


def test_anchors_that_are_in_windows(grid, batch):
    overlaps, windows = build(grid, batch)
    generator = torch.Generator().manual_seed(2)
    anchors = torch.randperm(overlaps.num_anchors, generator=generator)[:1500]
    anchors = torch.cat([anchors, anchors[:10]])  # some of them twice
    units, iou = grid.orders.units, torch.tensor([LEAST_IOU])[:, None, None]
    both = windows.reaching(iou.expand(2, 1, 1), units)
    cells, *rows = overlaps.count(both)
    parts = (x.split(rows) for x in overlaps.runs_of(both, sum(rows)))
    runs, strips = map(Runs._make, zip(*parts))
    assert len(strips.width) < len(runs.width) / 2
    found = overlaps.find_in(strips, anchors)
    cells = overlaps.pairs_in(runs, cells)
    listed = (cells.index[:, None] == anchors).nonzero()
    assert listed.numel() > 100
    expected = [part[listed[:, 0]].tolist() for part in cells]
    actual = set(zip(*(part.tolist() for part in found)))
    assert set(zip(*expected)) <= actual
    assert len(found.index) < 3 * len(listed)
    full = matrix(grid, batch, None)
    assert torch.equal(found.overlaps, full[found.objects, found.index])
    none = torch.zeros(0, dtype=torch.long)
    assert len(overlaps.find_in(strips, none).objects) == 0


def test_what_is_not_finite_is_told(grid):
    bboxes = torch.tensor([[0.0, 0.0, float('inf'), 9.0]])
    overlaps, windows = build(grid, [bboxes])
    assert overlaps.count(windows.reaching(LEAST_IOU)) is None


def test_work_does_not_grow_with_the_map():
    """Candidates, not anchors, get their IoU computed."""
    bboxes = torch.tensor([[100.0, 100.0, 164.0, 132.0]])
    generator = AnchorGenerator([4, 8, 16], [0.5, 1.0, 2.0], scales=[8])
    numbers = []
    for scale in (1, 4):
        sizes = [(h * scale, w * scale) for h, w in ((50, 84), *SIZES)]
        grid = AnchorGrid(generator, sizes, CPU)
        overlaps, windows = build(grid, [bboxes])
        numbers.append(overlaps.count(windows.reaching(0.3))[0])
    assert 0 < numbers[0] == numbers[1] < 1000
