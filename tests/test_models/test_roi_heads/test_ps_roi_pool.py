"""R-FCN's pooling against a loop written from the authors' rule."""

import math

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from mmdet_klrpn.models.roi_heads.roi_extractors import ps_roi_pool

# The same examples in each run: a failure is one of the change under test.
SETTINGS = settings(deadline=None, max_examples=150, derandomize=True)
# Operators that torch.use_deterministic_algorithms refuses in CUDA, of those
# that sum, scatter or resample, by the names that they have in a dispatcher.
REFUSED = ('cumsum', 'cumprod', 'put_', 'put', 'bincount', 'histc')
REFUSED_WORDS = ('grid_sampl', 'upsample', 'interpolate', 'pool', 'pad')


def round_away(value):
    """Round halves away from zero, as C does."""
    whole = math.trunc(value)
    return whole + math.trunc(2 * (value - whole))


def naive_pool(maps, rois, k, scale):
    """Mean of the cells of each bin, by the authors' rounding."""
    _, channels, height, width = maps.shape
    out = torch.zeros(len(rois), channels // k**2, k, k, dtype=torch.float64)
    for n, (image, *box) in enumerate(rois.tolist()):
        x1, y1, x2, y2 = map(round_away, box)
        spans = {}
        for axis, low, high, size in (
            ('y', y1, y2, height),
            ('x', x1, x2, width),
        ):
            start, end = low * scale, (high + 1) * scale
            extent = max(end - start, 0.1)
            spans[axis] = [
                range(
                    max(math.floor(start + i * extent / k), 0),
                    min(math.ceil(start + (i + 1) * extent / k), size),
                )
                for i in range(k)
            ]
        for d in range(out.shape[1]):
            for i, rows in enumerate(spans['y']):
                for j, columns in enumerate(spans['x']):
                    plane = maps[int(image), (d * k + i) * k + j]
                    cells = [plane[r, c].item() for r in rows for c in columns]
                    if cells:
                        out[n, d, i, j] = sum(cells) / len(cells)
    return out


def random_maps(images, depth, k, height, width):
    """Maps whose sums are large beside their differences."""
    generator = torch.Generator().manual_seed(0)
    shape = (images, depth * k * k, height, width)
    noise = torch.randn(shape, generator=generator, dtype=torch.float64)
    return noise + 10


edge = st.one_of(
    st.integers(-80, 400).map(lambda halves: halves / 2),
    st.floats(-60, 300, width=32),
    st.sampled_from([-1e30, -1e6, 1e6, 1e30, 0.49999997, -0.5]),
)
corners = st.tuples(edge, edge, edge, edge)


@SETTINGS
@given(
    boxes=st.lists(st.tuples(st.integers(0, 1), corners), max_size=4),
    size=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    k=st.sampled_from([1, 2, 3, 7]),
    stride=st.sampled_from([1, 4, 8, 12, 16, 32]),
)
@example(boxes=[], size=(5, 6), k=7, stride=16)
# Halves; a point; reversed corners; beyond each side of the map.
@example([(0, (0.5, 1.5, 40.5, 41.5)), (1, (-0.5,) * 4)], (5, 6), 3, 16)
@example([(1, (50.0, 50.0, 50.0, 50.0))], (5, 6), 7, 16)
@example([(0, (70.0, 60.0, 20.0, 10.0))], (5, 6), 3, 16)
@example([(0, (-90.0, -90.0, -40.0, -40.0))], (5, 6), 3, 16)
@example([(0, (500.0, 500.0, 900.0, 900.0))], (5, 6), 3, 16)
@example([(1, (-1e30, -1e6, 1e30, 1e6))], (5, 6), 3, 16)
# Limits of bins on those of cells, and the last row and column.
@example([(0, (0.0, 0.0, 111.0, 111.0))], (7, 7), 7, 16)
def test_equals_the_loop(boxes, size, k, stride):
    rois = torch.tensor(
        [[image, *box] for image, box in boxes], dtype=torch.float64
    ).reshape(-1, 5)
    maps = random_maps(2, 2, k, *size)
    bins = ps_roi_pool(maps, rois, k, 1 / stride)
    expected = naive_pool(maps, rois, k, 1 / stride)
    torch.testing.assert_close(bins, expected, rtol=1e-9, atol=1e-9)
    assert (bins[expected == 0] == 0).all()


def test_moves_with_the_box_by_whole_cells():
    maps = random_maps(1, 1, 7, 20, 24)
    roi = torch.tensor([[0, 33.0, 21.0, 208.0, 181.0]])
    moved = roi + torch.tensor([0, 48.0, 32.0, 48.0, 32.0])
    there = maps.roll((2, 3), dims=(2, 3))
    torch.testing.assert_close(
        ps_roi_pool(maps, roi, 7, 1 / 16), ps_roi_pool(there, moved, 7, 1 / 16)
    )


def test_gradients_are_those_of_finite_differences():
    maps = random_maps(2, 2, 3, 5, 6).requires_grad_()
    rois = torch.tensor(
        [[0, 3.0, 9.5, 70.2, 60.0], [1, -20, 5, 200, 30], [1, 99, 9, 99, 9]]
    )
    assert torch.autograd.gradcheck(
        lambda maps: ps_roi_pool(maps, rois, 3, 1 / 16), maps
    )


@pytest.mark.parametrize(
    ('dtype', 'rtol'),
    [(torch.float64, 1e-12), (torch.float32, 1e-6), (torch.float16, 1e-6)],
)
def test_sums_do_not_lose_digits_on_a_large_map(dtype, rtol):
    """float32 sums of this map would be off by 1e-4 and more."""
    maps = (random_maps(1, 1, 1, 128, 192) * 100).to(dtype)
    rois = torch.tensor([[0, 2950.0, 1900.0, 3000.0, 1960.0]])
    bins = ps_roi_pool(maps, rois, 1, 1 / 16)
    assert bins.dtype == torch.promote_types(dtype, torch.float32)
    expected = naive_pool(maps, rois, 1, 1 / 16)
    torch.testing.assert_close(bins.double(), expected, rtol=rtol, atol=0)


def test_autocast_changes_nothing():
    maps = random_maps(2, 3, 3, 10, 9).float()
    rois = torch.tensor([[1, 21.3, 33.8, 97.1, 150.2]])
    with torch.autocast('cpu', torch.bfloat16):
        bins = ps_roi_pool(maps, rois, 3, 1 / 16)
    assert torch.equal(bins, ps_roi_pool(maps, rois, 3, 1 / 16))


def test_a_region_that_is_no_number_is_empty():
    maps = random_maps(1, 1, 3, 5, 6)
    roi = torch.full((1, 5), math.nan)
    roi[:, 0] = 0
    assert (ps_roi_pool(maps, roi, 3, 1 / 16) == 0).all()


class Operators(TorchDispatchMode):
    """Collects the names of all operators that run."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.add(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


def test_no_operator_is_refused_as_nondeterministic():
    maps = random_maps(2, 2, 3, 5, 6).float().requires_grad_()
    rois = torch.tensor([[0, 3.0, 9.5, 70.2, 60.0], [1, -20, 5, 200, 30]])
    with Operators() as seen:
        ps_roi_pool(maps, rois, 3, 1 / 16).sum().backward()
    assert {'mm', 'index_select'} <= seen.names
    assert not [
        name
        for name in seen.names
        if name in REFUSED or any(word in name for word in REFUSED_WORDS)
    ]


def test_compiles_without_a_graph_break():
    torch._dynamo.reset()
    compiled = torch.compile(ps_roi_pool, backend='aot_eager', fullgraph=True)
    maps = random_maps(2, 2, 3, 5, 6).float().requires_grad_()
    rois = torch.tensor([[0, 3.0, 9.5, 70.2, 60.0], [1, -20, 5, 200, 30]])
    outputs = [f(maps, rois, 3, 1 / 16) for f in (compiled, ps_roi_pool)]
    torch.testing.assert_close(*outputs)
    gradients = [torch.autograd.grad(x.square().sum(), maps) for x in outputs]
    torch.testing.assert_close(*gradients)
    torch._dynamo.reset()
