"""Assignment on a grid against MaxIoUAssigner's matrix, bit for bit."""

import re
from unittest.mock import patch

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.models.task_modules.assigners import MaxIoUAssigner
from mmdet.models.task_modules.prior_generators import (
    AnchorGenerator,
    anchor_inside_flags,
)
from mmengine.structures import InstanceData

from mmdet_klrpn.models.task_modules import (
    AnchorGrid,
    TopKMaxIoUAssigner,
    assign_on_grid,
    inside_cells,
    why_not_on_grid,
)
from mmdet_klrpn.models.task_modules.assigners import grid_max_iou

CPU = torch.device('cpu')
FPN = AnchorGenerator([4, 8, 16, 32], [0.5, 1.0, 2.0], scales=[8])
FPN_SIZES = ((50, 84), (25, 42), (13, 21), (7, 11))


def inside_flags(grid, img_metas, border):
    """By mmdet, which anchors are inside, (N, R) in mmdet's order."""
    anchors = grid.all_boxes()[grid.mmdet_order]
    return torch.stack(
        [
            anchor_inside_flags(
                anchors,
                torch.cat(
                    grid.generator.valid_flags(
                        grid.featmap_sizes, meta['pad_shape'], CPU
                    )
                ),
                meta['img_shape'],
                border,
            )
            for meta in img_metas
        ]
    )


def dense(assigner, grid, batch_bboxes, inside=None):
    """What mmdet assigns, in its order; objects are counted over the batch."""
    anchors = grid.all_boxes()[grid.mmdet_order]
    first, rows = 0, []
    for i, bboxes in enumerate(batch_bboxes):
        valid = slice(None) if inside is None else inside[i]
        labels = torch.zeros(len(bboxes), dtype=torch.long)
        result = assigner.assign(
            InstanceData(priors=anchors[valid]),
            InstanceData(bboxes=bboxes, labels=labels),
        ).gt_inds
        row = torch.full((len(anchors),), -1)
        row[valid] = torch.where(result > 0, result + first, result)
        rows.append(row)
        first += len(bboxes)
    return torch.stack(rows)


def assert_same(assigner, grid, batch_bboxes, img_metas=None, border=-1):
    """By windows and, where it is not too large, by the matrix of pairs."""
    assert why_not_on_grid(assigner) is None
    inside = flags = None
    if img_metas is not None:
        inside = inside_cells(grid, img_metas, border)
        flags = inside_flags(grid, img_metas, border)
        order = grid.mmdet_order
        mask = torch.ones_like(flags) if inside is None else inside.mask()
        assert torch.equal(mask[:, order], flags)
    expected = dense(assigner, grid, batch_bboxes, flags)
    for few_pairs in (0, 1_000_000):
        with patch.object(grid_max_iou, '_FEW_PAIRS', few_pairs):
            actual = assign_on_grid(assigner, grid, batch_bboxes, inside)
        assert torch.equal(actual[:, grid.mmdet_order], expected)
    return expected


def rpn_assigner(**kwargs):
    options = dict(pos_iou_thr=0.7, neg_iou_thr=0.3, min_pos_iou=0.3)
    return MaxIoUAssigner(**{**options, **kwargs})


def random_boxes(count, generator, size=(336.0, 200.0)):
    centres = torch.rand((count, 2), generator=generator) * torch.tensor(size)
    sides = (torch.rand((count, 2), generator=generator) * 3 + 2).exp()
    return torch.cat([centres - sides / 2, centres + sides / 2], dim=1)


generators = st.builds(
    AnchorGenerator,
    strides=st.sampled_from(
        [[4, 8], [16], [7, 7], [(4, 8), (16, 8)], [4, 64], [1, 2]]
    ),
    ratios=st.sampled_from([[1.0], [0.5, 1.0, 2.0], [0.1, 7.0]]),
    scales=st.sampled_from([[8], [1, 2], [3.3], [2, 4, 8, 16]]),
    center_offset=st.sampled_from([0.0, 0.5, 0.3]),
)
thresholds = st.floats(0.1, 0.9)
assigners = st.builds(
    MaxIoUAssigner,
    pos_iou_thr=thresholds | st.sampled_from([0.5, 0.7, 1.0]),
    neg_iou_thr=thresholds
    | st.just(0.3)
    | st.tuples(st.sampled_from([-1.0, 0.0, 0.1, 0.2]), thresholds),
    min_pos_iou=thresholds | st.just(0.3),
    match_low_quality=st.booleans(),
    gt_max_assign_all=st.booleans(),
)
topk_assigners = st.builds(
    TopKMaxIoUAssigner,
    pos_iou_thr=st.sampled_from([0.5, 0.7]),
    neg_iou_thr=st.sampled_from([0.3, 0.5, (0.1, 0.3)]),
    min_pos_iou=st.sampled_from([0.2, 0.3]),
    match_low_quality=st.booleans(),
    gt_max_assign_all=st.booleans(),
    topk=st.integers(1, 30),
    topk_min_iou=thresholds,
)
# Whole numbers make ties; the large ones lie outside of any map.
coordinates = (
    st.integers(-20, 150)
    | st.floats(-50, 300, width=32)
    | st.sampled_from([0.0, 1e-30, 1e4, -1e6, 1e9, 1e14])
)
boxes = st.tuples(coordinates, coordinates, coordinates, coordinates)
sizes = st.tuples(st.integers(1, 12), st.integers(1, 12))


@st.composite
def problems(draw):
    generator = draw(generators)
    levels = len(generator.strides)
    shapes = draw(st.lists(sizes, min_size=levels, max_size=levels))
    grid = AnchorGrid(generator, shapes, CPU)
    anchors = grid.all_boxes()
    batch = []
    for _ in range(draw(st.integers(1, 3))):
        rows = draw(st.lists(boxes, max_size=6))
        bboxes = torch.tensor(rows, dtype=torch.float32).reshape(-1, 4)
        # An anchor itself and a pair of equals, for IoU 1 and for ties.
        picks = draw(st.lists(st.integers(0, len(anchors) - 1), max_size=2))
        batch.append(torch.cat([bboxes, anchors[picks], bboxes[:1]]))
    metas, border = None, -1
    if draw(st.booleans()):
        border = draw(st.sampled_from([-1, 0, 3, 40]))
        side = st.integers(1, 200)
        shape = st.tuples(side, side)
        metas = [
            dict(pad_shape=draw(shape), img_shape=draw(shape)) for _ in batch
        ]
    return grid, batch, metas, border


@settings(deadline=None, max_examples=300)
@given(assigners | topk_assigners, problems())
def test_equals_the_matrix(assigner, problem):
    assert_same(assigner, *problem)


def test_an_anchor_goes_to_its_nearest_object_though_that_has_enough():
    """An object short of positives has no claim on a neighbour's anchors."""
    generator = torch.Generator().manual_seed(0)
    grid = AnchorGrid(FPN, FPN_SIZES, CPU)
    large = random_boxes(60, generator)
    small = torch.cat([large[:, :2], large[:, :2] + 14], dim=1)
    assigner = TopKMaxIoUAssigner(
        pos_iou_thr=0.7, neg_iou_thr=0.3, min_pos_iou=0.3, topk=9
    )
    gt_inds = assert_same(assigner, grid, [torch.cat([large, small])])
    plain = assign_on_grid(rpn_assigner(), grid, [torch.cat([large, small])])
    assert (gt_inds > 60).sum() > (plain > 60).sum()


@pytest.mark.parametrize('assign_all', [True, False])
@pytest.mark.parametrize('count', [0, 1, 20, 1000])
def test_equals_the_matrix_on_a_pyramid(count, assign_all):
    generator = torch.Generator().manual_seed(count)
    batch = [random_boxes(count, generator) for _ in range(2)]
    grid = AnchorGrid(FPN, FPN_SIZES, CPU)
    assigner = rpn_assigner(gt_max_assign_all=assign_all)
    gt_inds = assert_same(assigner, grid, batch)
    assert (gt_inds > 0).any() == (count > 0)
    assert (gt_inds == 0).any()


def test_equals_the_matrix_far_from_the_origin():
    """Where the anchors' float32 coordinates are coarsest."""
    generator = torch.Generator().manual_seed(0)
    grid = AnchorGrid(AnchorGenerator([8], [0.7], [1.1]), [(2, 2000)], CPU)
    for _ in range(20):
        bboxes = random_boxes(50, generator, (16000.0, 16.0))
        index = torch.randint(0, 4000, (50,), generator=generator)
        noise = torch.randn((50, 4), generator=generator)
        near = grid.all_boxes()[index] + noise
        assert_same(rpn_assigner(), grid, [torch.cat([bboxes, near])])


def test_images_do_not_mix():
    generator = torch.Generator().manual_seed(0)
    batch = [random_boxes(n, generator) for n in (3, 0, 5)]
    grid = AnchorGrid(FPN, FPN_SIZES, CPU)
    gt_inds = assert_same(rpn_assigner(), grid, batch)
    assert (gt_inds[1] == 0).all()
    assert gt_inds[0].max() <= 3 < gt_inds[2].max()


@pytest.mark.parametrize(
    'box',
    [
        [30.0, 30.0, 30.0, 60.0],
        [30.0, 30.0, 30.0, 30.0],
        [60.0, 60.0, 30.0, 30.0],
        [-90.0, -90.0, -20.0, -20.0],
        [-1e14, -1e14, 1e14, 1e14],
    ],
)
def test_an_object_that_no_anchor_reaches(box):
    grid = AnchorGrid(FPN, FPN_SIZES, CPU)
    bboxes = torch.tensor([box, [20.0, 20.0, 60.0, 60.0]])
    gt_inds = assert_same(rpn_assigner(), grid, [bboxes])
    assert set(gt_inds.unique().tolist()) == {-1, 0, 2}


@pytest.mark.parametrize('value', [float('nan'), float('inf'), 3e38])
def test_coordinates_without_an_area_are_refused(value):
    grid = AnchorGrid(FPN, FPN_SIZES, CPU)
    bboxes = torch.tensor([[20.0, 20.0, 60.0, 60.0], [0.0, 0.0, value, 9.0]])
    assert assign_on_grid(rpn_assigner(), grid, [bboxes]) is None


@pytest.mark.parametrize(
    ('options', 'least'),
    [
        (dict(), 0.3),
        (dict(neg_iou_thr=0.2), 0.2),
        (dict(neg_iou_thr=(0.1, 0.4)), 0.1),
        (dict(neg_iou_thr=(0.0, 0.4)), 0.3),
        (dict(neg_iou_thr=0.6, match_low_quality=False), 0.6),
        (dict(gpu_assign_thr=10), 0.3),
    ],
)
def test_the_least_iou_that_matters(options, least):
    assigner = rpn_assigner(**options)
    assert why_not_on_grid(assigner) is None
    assert grid_max_iou.min_relevant_iou(assigner) == least


class Heir(MaxIoUAssigner):
    pass


@pytest.mark.parametrize(
    ('assigner', 'reason'),
    [
        (dict(min_pos_iou=0.0), 'its least threshold, 0.0, is below 0.1'),
        (dict(neg_iou_thr=0.0), 'its least threshold'),
        (dict(neg_iou_thr=[0.1, 0.3]), r'its neg_iou_thr is \[0.1, 0.3\]'),
        (dict(iou_calculator=dict(type='BboxOverlaps2D_GLIP')), 'GLIP'),
        (
            dict(iou_calculator=dict(type='BboxOverlaps2D', dtype='fp16')),
            'its iou_calculator is .*fp16',
        ),
        (dict(perm_repeat_gt_cfg=dict(iou_thr=0.7)), 'its perm_repeat_gt_cfg'),
        (Heir(0.7, 0.3, 0.3), 'Heir is not a MaxIoUAssigner'),
        (object(), 'object is not a MaxIoUAssigner'),
    ],
)
def test_the_reason_why_an_assigner_is_left_alone(assigner, reason):
    if isinstance(assigner, dict):
        assigner = rpn_assigner(**assigner)
    assert re.search(reason, why_not_on_grid(assigner))
