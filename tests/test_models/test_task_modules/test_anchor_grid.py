"""AnchorGrid against the anchors that AnchorGenerator lays out."""

import pytest
import torch
from mmdet.models.task_modules.prior_generators import (
    AnchorGenerator,
    YOLOAnchorGenerator,
)

from mmdet_klrpn.models.task_modules import (
    AnchorGrid,
    AnchorIndex,
    anchor_grid,
)

CPU = torch.device('cpu')
SIZES = ((5, 3), (2, 4), (1, 1))
GENERATORS = {
    'plain': AnchorGenerator([4, 8, 16], [0.5, 1.0], scales=[2, 3]),
    'oblong': AnchorGenerator([(4, 8), (8, 5), (16, 20)], [1.0], scales=[3]),
    'moved': AnchorGenerator(
        [4, 8, 16], [0.5, 2.0], scales=[2], center_offset=0.5
    ),
    'boxes': AnchorGenerator([4, 8, 16], [1.0], scales=[8], use_box_type=True),
    'other': YOLOAnchorGenerator(
        [4, 8, 16], [[(9, 5), (2, 2)], [(10, 20), (30, 7)], [(40, 40), (9, 9)]]
    ),
}


@pytest.mark.parametrize('name', GENERATORS)
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_boxes_are_the_generator_s(name, dtype):
    grid = AnchorGrid(GENERATORS[name], SIZES, CPU)
    expected = GENERATORS[name].grid_priors(SIZES, dtype=dtype, device=CPU)
    expected = torch.cat([getattr(x, 'tensor', x) for x in expected])
    index = torch.arange(grid.num_anchors)
    for positions in (grid.mmdet_order, grid.from_mmdet(index)):
        anchors = grid.locate(positions)
        assert torch.equal(grid.mmdet_index(anchors), index)
        assert torch.equal(grid.boxes(anchors, dtype), expected)
    assert torch.equal(grid.all_boxes(dtype)[grid.mmdet_order], expected)


@pytest.mark.parametrize('name', GENERATORS)
def test_map_order_is_that_of_the_maps(name):
    """Maps that hold positions give them back, level by level."""
    grid = AnchorGrid(GENERATORS[name], SIZES, CPU)
    maps, first = [], 0
    for count, (height, width) in zip(grid.num_bases, SIZES):
        number = count * height * width
        level = torch.arange(first, first + 2 * number)
        maps.append(level.view(2, count, height, width).double())
        first += 2 * number
    index = torch.arange(grid.num_anchors)
    anchors = grid.locate(index)
    flat = torch.cat([level[1].flatten() for level in maps])
    (values,) = grid.gather(torch.ones_like(index), anchors, maps)
    assert torch.equal(values[:, 0], flat)


@pytest.mark.parametrize('name', ['plain', 'other'])
def test_gather_picks_rows_and_sends_their_gradient_back(name):
    generator = GENERATORS[name]
    grid = AnchorGrid(generator, SIZES, CPU)
    maps = [
        torch.randn((2, count * 4, *size), requires_grad=True)
        for count, size in zip(generator.num_base_priors, SIZES)
    ]
    rows = torch.cat(
        [x.permute(0, 2, 3, 1).reshape(2, -1, 4) for x in maps], dim=1
    )
    index = torch.tensor([0, 3, grid.num_anchors - 1, 7, 7])
    images = torch.tensor([0, 1, 1, 0, 1])
    anchors = grid.locate(grid.mmdet_order[index])
    gathered = grid.gather(images, anchors, maps, maps)
    assert len(gathered) == 2
    for values in gathered:
        assert torch.equal(values, rows[images, index])
    weights = torch.randn(5, 4)
    expected = torch.autograd.grad((rows[images, index] * weights).sum(), maps)
    actual = torch.autograd.grad((gathered[0] * weights).sum(), maps)
    torch.testing.assert_close(actual, expected)


def test_gather_of_nothing_keeps_every_map_in_the_graph():
    grid = AnchorGrid(GENERATORS['plain'], SIZES, CPU)
    maps = [torch.ones((1, 4, *size), requires_grad=True) for size in SIZES]
    none = torch.arange(0)
    (rows,) = grid.gather(none, AnchorIndex(none, none, none), maps)
    assert rows.shape == (0, 1)
    rows.sum().backward()
    assert all((x.grad == 0).all() for x in maps)


def test_maps_in_any_memory_format():
    grid = AnchorGrid(GENERATORS['plain'], SIZES, CPU)
    maps = [torch.randn((2, 4, *size)) for size in SIZES]
    last = [x.contiguous(memory_format=torch.channels_last) for x in maps]
    index = torch.arange(grid.num_anchors)
    args = (torch.ones_like(index), grid.locate(index))
    torch.testing.assert_close(
        grid.gather(*args, last), grid.gather(*args, maps)
    )


def test_grids_are_built_once():
    generator = GENERATORS['plain']
    assert anchor_grid(generator, SIZES, CPU) is anchor_grid(
        generator, SIZES, CPU
    )
    other = ((5, 3), (2, 4), (1, 2))
    assert anchor_grid(generator, other, CPU).num_anchors == 4 * (15 + 8 + 2)
