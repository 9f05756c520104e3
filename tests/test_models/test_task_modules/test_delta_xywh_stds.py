"""Propagation of offsets' stds to box corners, against sampling."""

import pytest
import torch
from mmdet.models.task_modules.coders import DeltaXYWHBBoxCoder
from mmdet.structures.bbox import HorizontalBoxes

from mmdet_klrpn.models.task_modules import decode_delta_xywh_stds

PRIORS = torch.tensor([[10.0, 20.0, 50.0, 40.0], [-8.0, -8.0, 8.0, 8.0]])
DELTAS = torch.tensor([[0.1, -0.2, 0.3, -0.4], [0.0, 0.5, -1.0, 0.2]])
STDS = torch.tensor([[0.02, 0.03, 0.04, 0.01], [0.05, 0.01, 0.02, 0.06]])


@pytest.mark.parametrize(
    'coder',
    [
        DeltaXYWHBBoxCoder(),
        DeltaXYWHBBoxCoder((0.1, 0.0, -0.2, 0.1), (0.1, 0.2, 0.3, 0.4)),
    ],
)
def test_agrees_with_sampling(coder):
    generator = torch.Generator().manual_seed(0)
    count = 100_000
    noise = torch.randn((count, 2, 4), generator=generator) * STDS
    boxes = coder.decode(
        PRIORS.repeat(count, 1), (DELTAS + noise).reshape(-1, 4)
    )
    expected = boxes.reshape(count, 2, 4).std(dim=0)
    stds = decode_delta_xywh_stds(coder, PRIORS, DELTAS, STDS)
    torch.testing.assert_close(stds, expected, rtol=0.02, atol=0)


def test_one_std_counts_for_all_four_offsets():
    coder = DeltaXYWHBBoxCoder()
    one = decode_delta_xywh_stds(coder, PRIORS, DELTAS, STDS[:, :1])
    four = decode_delta_xywh_stds(
        coder, PRIORS, DELTAS, STDS[:, :1].repeat(1, 4)
    )
    torch.testing.assert_close(one, four)


def test_extreme_offsets_are_clipped_as_the_decoder_clips_them():
    coder = DeltaXYWHBBoxCoder()
    deltas = torch.tensor([[0.0, 0.0, 1e4, -1e4]])
    stds = decode_delta_xywh_stds(coder, PRIORS[:1], deltas, STDS[:1])
    box = coder.decode(PRIORS[:1], deltas)
    size = box[:, 2:] - box[:, :2]
    expected = torch.hypot(
        torch.tensor([[40.0, 20.0]]) * STDS[:1, :2],
        0.5 * size * STDS[:1, 2:],
    )
    torch.testing.assert_close(stds, expected.repeat(1, 2))


def test_accepts_box_types_and_no_box():
    coder = DeltaXYWHBBoxCoder()
    boxes = HorizontalBoxes(PRIORS)
    torch.testing.assert_close(
        decode_delta_xywh_stds(coder, boxes, DELTAS, STDS),
        decode_delta_xywh_stds(coder, PRIORS, DELTAS, STDS),
    )
    none = decode_delta_xywh_stds(coder, PRIORS[:0], DELTAS[:0], STDS[:0])
    assert none.shape == (0, 4)
