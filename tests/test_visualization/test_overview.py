"""The picture of first stages: what is drawn, where, and in which colour."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from matplotlib import colormaps
from mmengine.structures import InstanceData

from mmdet_klrpn.apis import FirstStage
from mmdet_klrpn.visualization import draw_overview, render
from mmdet_klrpn.visualization.overview import WIDEST, WIDTH

IMAGE = np.full((64, 64, 3), 255, dtype=np.uint8)
DPI = 80


def first_stage(levels=0, surest=(1, 2)):
    """A stage whose stds are 0.5 but 0.03 at one cell of each level."""
    strides = [(16, 16), (32, 32), (64, 64), (128, 128), (256, 256)][:levels]
    head = SimpleNamespace(
        num_stds=4,
        min_std=0.03,
        neg_std=0.5,
        prior_generator=SimpleNamespace(strides=strides, center_offset=0.5),
    )
    log_vars = []
    for stride, _ in strides:
        cells = max(64 // stride, 1)
        log_var = torch.full((1, 4, cells, cells), 2 * math.log(0.5))
        row, column = (min(place, cells - 1) for place in surest)
        log_var[..., row, column] = 2 * math.log(0.03)
        log_vars.append(log_var)
    proposals = InstanceData(
        bboxes=torch.tensor([[8.0, 8, 40, 40], [30, 30, 60, 60]]),
        scores=torch.tensor([0.9, 0.5]),
    )
    if levels:
        proposals.bbox_stds = torch.full((2, 4), 4.0)
    return FirstStage(head, proposals, log_vars, (1.0, 1.0))


def titles(figure):
    return [ax.get_title() for ax in figure.axes if ax.get_title()]


def pixel(figure, pixels, ax, x, y):
    """Colour in [0, 1] of a rendered figure at a place of an axes' image."""
    x, y = ax.transData.transform((x, y))
    return pixels[int(pixels.shape[0] - y), int(x)] / 255


def test_shows_each_model_and_each_level():
    stages = [('RPN', first_stage()), ('KL-RPN', first_stage(3))]
    figure = draw_overview(IMAGE, stages, top=1, truth=np.zeros((5, 4)))
    assert titles(figure) == [
        'ground truth\n5 objects',
        'RPN\n1 best proposals, yellow first',
        'KL-RPN\n1 best proposals, yellow first, ± one std',
        'stride 16, least 0.03',
        'stride 32, least 0.03',
        'stride 64, least 0.03',
    ]
    assert [len(ax.patches) for ax in figure.axes[:3]] == [5, 1, 2]


def test_names_the_maps_of_several_models():
    stages = [('old', first_stage(2)), ('new', first_stage(1))]
    figure = draw_overview(IMAGE, stages)
    assert titles(figure)[2:] == [
        'stride 16, least 0.03',
        'stride 32, least 0.03',
        'stride 16, least 0.03',
    ]
    names = [ax.get_title(loc='left').strip() for ax in figure.axes]
    assert [name for name in names if name] == ['old', 'new']


def test_the_surest_cell_has_the_surest_colour():
    figure = draw_overview(IMAGE, [('KL-RPN', first_stage(2))])
    pixels = render(figure, DPI)
    colours = colormaps['plasma_r']
    maps = [ax for ax in figure.axes if 'stride' in ax.get_title()]
    for ax, (x, y), (x2, y2) in zip(
        maps, ((40, 24), (48, 48)), ((24, 40), (16, 48))
    ):
        # Laid over white at 0.75.
        sure = 0.75 * np.array(colours(0.0)[:3]) + 0.25
        vague = 0.75 * np.array(colours(1.0)[:3]) + 0.25
        seen = pixel(figure, pixels, ax, x, y)
        assert seen == pytest.approx(sure, abs=0.02)
        seen = pixel(figure, pixels, ax, x2, y2)
        assert seen == pytest.approx(vague, abs=0.02)


@pytest.mark.parametrize('offset', [0.0, 0.5])
@pytest.mark.parametrize('side', [64, 50])
def test_no_pixel_of_the_image_is_left_uncovered(offset, side):
    """Whether anchors begin at the image's corner or half a cell into it."""
    stage = first_stage(3)
    stage.head.prior_generator.center_offset = offset
    image = IMAGE[:side, :side]
    figure = draw_overview(image, [('KL-RPN', stage)])
    pixels = render(figure, DPI)
    for ax in figure.axes:
        if 'stride' in ax.get_title():
            for x in (0.5, side / 2, side - 0.5):
                for y in (0.5, side / 2, side - 0.5):
                    assert pixel(figure, pixels, ax, x, y).min() < 0.9


def test_one_scale_for_all_maps():
    figure = draw_overview(IMAGE, [('KL-RPN', first_stage(2))])
    heats = [ax.images[1] for ax in figure.axes if 'stride' in ax.get_title()]
    assert [heat.get_clim() for heat in heats] == [(0.03, 0.5)] * 2
    bar = figure.axes[-1]
    assert bar.get_ylabel() == 'std, encoded offsets'
    assert bar.get_ylim() == pytest.approx((0.03, 0.5))


def test_the_band_is_drawn_around_the_edge():
    figure = draw_overview(IMAGE, [('KL-RPN', first_stage(1))], top=1)
    pixels = render(figure, DPI)
    ax = figure.axes[0]
    # The box's left edge is at 8 pixels, the band from 4 to 12.
    white = np.ones(3)
    for x in (5, 11):
        assert np.abs(pixel(figure, pixels, ax, x, 24) - white).max() > 0.1
    for x in (2, 14):
        assert pixel(figure, pixels, ax, x, 24) == pytest.approx(white)


SHAPES = [(64, 64), (48, 96), (96, 48), (1, 1), (20, 4000), (4000, 20)]


@pytest.mark.parametrize('shape', SHAPES)
@pytest.mark.parametrize('levels', [1, 5])
def test_nothing_is_cut_off_or_overlaps(shape, levels):
    image = np.zeros((*shape, 3), dtype=np.uint8)
    stages = [('RPN', first_stage()), ('KL-RPN', first_stage(levels))]
    figure = draw_overview(image, stages, truth=np.zeros((2, 4)))
    pixels = render(figure, DPI)
    assert pixels.shape[1] == round(WIDTH * DPI)
    assert pixels.shape[0] < 2000
    canvas = figure.bbox
    boxes = [ax.get_tightbbox() for ax in figure.axes]
    for i, box in enumerate(boxes):
        assert box.x0 >= canvas.x0 - 1
        assert box.x1 <= canvas.x1 + 1
        assert box.y0 >= canvas.y0 - 1
        assert box.y1 <= canvas.y1 + 1
        assert not any(box.overlaps(other) for other in boxes[i + 1 :])
    for ax in figure.axes[: 3 + levels]:
        assert ax.get_xlim() == (0, shape[1])
        assert ax.get_ylim() == (shape[0], 0)
        box = ax.get_window_extent()
        assert min(box.width, box.height) >= 0.49 * DPI
        if max(shape) < 4000:
            ratio = box.height / box.width
            assert ratio == pytest.approx(shape[0] / shape[1], rel=0.01)


def test_a_long_picture_keeps_its_proportions_while_they_can_be_seen():
    figure = draw_overview(
        np.zeros((400, 100, 3), dtype=np.uint8), [('RPN', first_stage())]
    )
    (box,) = (ax.get_window_extent() for ax in figure.axes)
    assert box.height / box.width == pytest.approx(4)
    assert box.height <= 2 * WIDEST * figure.dpi


@pytest.mark.parametrize('levels', [0, 1, 5])
def test_no_proposal_and_no_object(levels):
    stage = first_stage(levels)
    stage = stage._replace(proposals=stage.proposals[:0])
    figure = draw_overview(IMAGE, [('name', stage)], truth=np.zeros((0, 4)))
    band = ', ± one std' if levels else ''
    assert titles(figure)[:2] == [
        'ground truth\n0 objects',
        f'name\n0 best proposals, yellow first{band}',
    ]
    assert not any(ax.patches for ax in figure.axes[:2])
    assert render(figure).shape[1] == round(WIDTH * DPI)
