"""Suppression that stops early against mmcv's."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmcv.ops import batched_nms

from mmdet_klrpn.models.dense_heads import sparse_nms


def expected(boxes, scores, levels, valid, thr, max_num):
    cfg = dict(type='nms', iou_threshold=thr)
    index = valid.nonzero()[:, 0]
    if len(index) == 0:
        return index
    parts = (part[index] for part in (boxes, scores, levels))
    return index[batched_nms(*parts, cfg)[1][:max_num]]


@pytest.fixture(params=['level by level', 'at once'])
def _device(request, monkeypatch):
    if request.param == 'at once':
        monkeypatch.setattr(sparse_nms, '_SERIAL_DEVICES', ())


@pytest.mark.usefixtures('_device')
@pytest.mark.parametrize('max_num', [1, 50, 400, 10_000])
@pytest.mark.parametrize('spread', [10.0, 300.0])
@pytest.mark.parametrize('share', [1.0, 0.6, 0.1, 0.0])
def test_equals_mmcv(max_num, spread, share):
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand((2000, 2), generator=generator) * spread
    sides = torch.rand((2000, 2), generator=generator) * 60
    boxes = torch.cat([corners, corners + sides], dim=1)
    scores = torch.randperm(2000, generator=generator) / 2000
    levels = torch.randint(0, 5, (2000,), generator=generator)
    valid = torch.rand(2000, generator=generator) < share
    boxes[~valid] = float('nan')
    args = (boxes, scores, levels, valid, 0.7, max_num)
    keep = sparse_nms.suppress(*args)
    assert torch.equal(keep, expected(*args))
    assert (len(keep) > 0) == (share > 0)
    assert (scores[keep].diff() < 0).all()


# Few whole numbers: many IoUs are exactly at the threshold.
sides = st.integers(0, 6)
boxes = st.tuples(sides, sides, sides, sides)


@settings(deadline=None, max_examples=300)
@given(
    st.lists(st.tuples(boxes, st.integers(0, 2)), min_size=1, max_size=40),
    st.sampled_from([0.3, 0.5, 0.6, 0.7, 1 / 3, 0.25, 0.0, 1.0]),
    st.integers(1, 20),
    st.randoms(use_true_random=False),
)
def test_equals_mmcv_at_the_threshold(rows, thr, max_num, random):
    corners = torch.tensor([box for box, _ in rows], dtype=torch.float32)
    boxes = torch.cat([corners[:, :2], corners[:, :2] + corners[:, 2:]], 1)
    levels = torch.tensor([level for _, level in rows])
    ranks = list(range(len(rows)))
    random.shuffle(ranks)
    valid = torch.ones_like(levels, dtype=torch.bool)
    args = (boxes, torch.tensor(ranks) / 64, levels, valid, thr, max_num)
    assert torch.equal(sparse_nms.suppress(*args), expected(*args))


def test_no_box():
    none = torch.zeros((0, 4))
    levels = torch.zeros(0, dtype=torch.long)
    valid = levels.bool()
    keep = sparse_nms.suppress(none, none[:, 0], levels, valid, 0.7, 10)
    assert keep.shape == (0,)
    assert keep.dtype == torch.long
