"""Pictures of proposals: geometry and what is drawn."""

import math

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from mmengine.structures import InstanceData

from mmdet_klrpn.visualization import (
    draw_boxes,
    draw_proposals,
    draw_std_map,
    std_band,
    std_map,
)

IMAGE = np.zeros((40, 60, 3), dtype=np.uint8)


def proposals(count=5, stds=True):
    corners = torch.arange(count)[:, None] + torch.tensor([[1, 2, 20, 22]])
    data = InstanceData(
        bboxes=corners.float(), scores=torch.linspace(1, 0, count)
    )
    if stds:
        data.bbox_stds = torch.full((count, 4), 2.0)
    return data


def covered(band, points, scale=8):
    """Whether points (x, y) are painted when the band is drawn."""
    figure = Figure(figsize=(40, 30), dpi=scale)
    canvas = FigureCanvasAgg(figure)
    ax = figure.add_axes((0, 0, 1, 1), xlim=(0, 40), ylim=(30, 0))
    ax.set_axis_off()
    ax.add_patch(PathPatch(band, color='black', lw=0))
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[..., 0]
    return [pixels[int(y * scale), int(x * scale)] < 128 for x, y in points]


def test_std_band_is_a_ring_of_one_std():
    band = std_band(np.array([10.0, 10, 30, 20]), np.array([2.0, 1, 2, 1]))
    # Left edge x = 10 with std 2: from 8 to 12. Upper edge: from 9 to 11.
    inside = [(8.5, 15), (11.5, 15), (20, 9.5), (20, 10.5), (31.5, 15)]
    outside = [(7.5, 15), (12.5, 15), (20, 8.5), (20, 11.5), (20, 15)]
    assert all(covered(band, inside))
    assert not any(covered(band, outside))


def test_std_band_of_a_box_smaller_than_its_stds_is_full():
    band = std_band(np.array([10.0, 10, 12, 12]), np.full(4, 5.0))
    assert all(covered(band, [(11.2, 11.2), (10.5, 11.5), (6, 6), (16, 16)]))
    assert not any(covered(band, [(4.5, 11), (17.5, 11)]))


@pytest.mark.parametrize(('stds', 'patches'), [(True, 6), (False, 3)])
def test_draws_the_top_proposals(stds, patches):
    ax = Figure().subplots()
    draw_proposals(ax, IMAGE, proposals(5, stds), top=3)
    assert len(ax.patches) == patches
    # The best lies on top, and no band on a box.
    boxes = [patch.get_xy() for patch in ax.patches[-3:]]
    assert boxes == [(3, 4), (2, 3), (1, 2)]
    assert all(band.get_alpha() < 0.2 for band in ax.patches[:-3])


def test_draws_no_proposal():
    ax = Figure().subplots()
    draw_proposals(ax, IMAGE, proposals(0))
    draw_boxes(ax, IMAGE, np.zeros((0, 4)))
    assert len(ax.patches) == 0


def test_draws_ground_truth():
    ax = Figure().subplots()
    draw_boxes(ax, IMAGE, proposals(2).bboxes.numpy())
    assert [patch.get_width() for patch in ax.patches] == [19, 19]


def test_std_map_is_the_least_over_anchors_and_levels():
    fine = torch.full((1, 2 * 4, 4, 6), 2 * math.log(0.5))
    coarse = torch.full((1, 2 * 4, 2, 3), 2 * math.log(0.4))
    # One anchor of one cell is surer; its four variances are averaged.
    fine[0, 4:, 1, 2] = torch.tensor([0.1, 0.1, 0.3, 0.3]).square().log()
    stds = std_map([fine, coarse], num_stds=4)
    assert stds.shape == (4, 6)
    expected = torch.full((4, 6), 0.4)
    expected[1, 2] = math.sqrt(0.05)
    torch.testing.assert_close(stds, expected)


def test_draws_a_std_map_over_the_whole_image():
    ax = Figure().subplots()
    heat = draw_std_map(ax, IMAGE, torch.rand(4, 6))
    assert heat.get_extent() == [0, 60, 40, 0]


@pytest.mark.parametrize(
    ('extent', 'expected', 'shape'),
    [
        # Cells of 16 pixels around the anchors of a grid that begins at the
        # corner: the last ones end before the image, and are continued.
        ((-8, 56, 40, -8), [-8, 72, 40, -8], (3, 5)),
        ((-8, 56, 24, -24), [-8, 72, 40, -24], (4, 5)),
        ((4, 68, 36, -12), [-12, 68, 52, -12], (4, 5)),
        ((0, 64, 48, 0), [0, 64, 48, 0], (3, 4)),
    ],
)
def test_a_std_map_ends_nowhere_before_its_image(extent, expected, shape):
    ax = Figure().subplots()
    stds = torch.rand(3, 4)
    heat = draw_std_map(ax, IMAGE, stds, extent)
    assert heat.get_extent() == expected
    cells = heat.get_array().data
    assert cells.shape == shape
    left = int((extent[0] - expected[0]) / 16)
    np.testing.assert_array_equal(cells[:3, left : left + 4], stds)
    np.testing.assert_array_equal(cells[-1, left : left + 4], stds[-1])
    np.testing.assert_array_equal(
        cells[:3, -1 if left == 0 else 0], stds[:, -1 if left == 0 else 0]
    )
    assert ax.get_xlim() == (0, 60)
    assert ax.get_ylim() == (40, 0)
