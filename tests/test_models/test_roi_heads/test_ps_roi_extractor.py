"""Position-sensitive pooling against loops over its definition."""

import math

import pytest
import torch
from test_ps_roi_pool import naive_pool, round_away

from mmdet_klrpn.models import PSRoIExtractor

STRIDE = 16
K = 3
# Inside, fractional, a sliver of a cell, beyond the map, all outside it.
ROIS = torch.tensor(
    [
        [0, 16, 16, 112, 112],
        [1, 21.3, 33.8, 97.1, 150.2],
        [0, 40, 40, 41, 90],
        [1, -30, 60, 90, 220],
        [0, 170, 170, 260, 260],
    ],
    dtype=torch.float64,
)


def extractor(kind, **kwargs):
    """An extractor of K x K bins."""
    roi_layer = dict(type=kind, output_size=K, **kwargs)
    return PSRoIExtractor(roi_layer, STRIDE)


def score_maps(num_classes=4):
    """Random maps of two images, 10 rows by 9 columns."""
    torch.manual_seed(0)
    return torch.randn(2, num_classes * K * K, 10, 9, dtype=torch.float64)


def naive_torchvision_pool(maps, rois):
    """Mean of the cells of each bin; corners of RoIs are rounded to cells."""
    _, channels, height, width = maps.shape
    out = maps.new_zeros(len(rois), channels // K**2, K, K)
    for n, (image, *box) in enumerate(rois.tolist()):
        x1, y1, x2, y2 = (round_away(edge / STRIDE) for edge in box)
        bin_w, bin_h = max(x2 - x1, 1) / K, max(y2 - y1, 1) / K
        for c in range(out.shape[1]):
            for i in range(K):
                for j in range(K):
                    rows = range(
                        max(math.floor(i * bin_h) + y1, 0),
                        min(math.ceil((i + 1) * bin_h) + y1, height),
                    )
                    columns = range(
                        max(math.floor(j * bin_w) + x1, 0),
                        min(math.ceil((j + 1) * bin_w) + x1, width),
                    )
                    plane = maps[int(image), (c * K + i) * K + j]
                    cells = [plane[r, q] for r in rows for q in columns]
                    if cells:
                        out[n, c, i, j] = sum(cells) / len(cells)
    return out


def bilinear(plane, y, x):
    """Value between cells; 0 beyond one cell outside, else the border's."""
    height, width = plane.shape
    if not (-1 <= y <= height and -1 <= x <= width):
        return 0.0
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    r, q = min(int(y), height - 2), min(int(x), width - 2)
    dy, dx = y - r, x - q
    return (
        (1 - dy) * ((1 - dx) * plane[r, q] + dx * plane[r, q + 1])
        + dy * ((1 - dx) * plane[r + 1, q] + dx * plane[r + 1, q + 1])
    ).item()


def naive_align(maps, rois, samples):
    """Mean of samples x samples bilinear values in each bin."""
    out = maps.new_zeros(len(rois), maps.shape[1] // K**2, K, K)
    for n, (image, *box) in enumerate(rois.tolist()):
        x1, y1, x2, y2 = (edge / STRIDE - 0.5 for edge in box)
        bin_w, bin_h = (x2 - x1) / K, (y2 - y1) / K
        for c in range(out.shape[1]):
            for i in range(K):
                for j in range(K):
                    plane = maps[int(image), (c * K + i) * K + j]
                    values = [
                        bilinear(
                            plane,
                            y1 + (i + (a + 0.5) / samples) * bin_h,
                            x1 + (j + (b + 0.5) / samples) * bin_w,
                        )
                        for a in range(samples)
                        for b in range(samples)
                    ]
                    out[n, c, i, j] = sum(values) / len(values)
    return out


def test_pool_rounds_as_the_authors_do():
    maps = score_maps()
    bins = extractor('PSRoIPool')((maps,), ROIS)
    assert bins.shape == (5, 4, K, K)
    torch.testing.assert_close(bins, naive_pool(maps, ROIS, K, 1 / STRIDE))


def test_torchvisions_pool_is_the_mean_of_the_cells_of_each_bin():
    maps = score_maps()
    bins = extractor('TorchvisionPSRoIPool')((maps,), ROIS)
    assert bins.shape == (5, 4, K, K)
    torch.testing.assert_close(bins, naive_torchvision_pool(maps, ROIS))


def test_align_is_the_mean_of_the_samples_of_each_bin():
    maps = score_maps()
    bins = extractor('PSRoIAlign', sampling_ratio=2)((maps,), ROIS)
    torch.testing.assert_close(bins, naive_align(maps, ROIS, samples=2))


@pytest.mark.parametrize(
    'kind', ['PSRoIPool', 'PSRoIAlign', 'TorchvisionPSRoIPool']
)
def test_half_precision_is_pooled_in_float32(kind):
    maps = score_maps().bfloat16().requires_grad_()
    kwargs = dict(sampling_ratio=2) if kind == 'PSRoIAlign' else {}
    bins = extractor(kind, **kwargs)((maps,), ROIS.float())
    assert bins.dtype == torch.float32
    expected = extractor(kind, **kwargs)((maps.float(),), ROIS.float())
    assert torch.equal(bins, expected)
    bins.sum().backward()
    assert maps.grad.abs().sum() > 0


@pytest.mark.parametrize('kind', ['PSRoIPool', 'TorchvisionPSRoIPool'])
def test_no_region(kind):
    maps = score_maps().requires_grad_()
    bins = extractor(kind)((maps,), ROIS[:0])
    assert bins.shape == (0, 4, K, K)
    bins.sum().backward()
    assert maps.grad.abs().sum() == 0


def test_unknown_operator_is_named():
    with pytest.raises(ValueError, match=r"roi_layer\.type .* 'RoIAlign'"):
        extractor('RoIAlign')
