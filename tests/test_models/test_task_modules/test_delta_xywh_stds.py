"""Propagation of offsets' stds to box corners, against sampling."""

import pytest
import torch
from mmdet.models.task_modules.coders import (
    DeltaXYWHBBoxCoder,
    DeltaXYWHBBoxCoderForGLIP,
)
from mmdet.structures.bbox import HorizontalBoxes

from mmdet_klrpn.models.task_modules import decode_delta_xywh_stds

PRIORS = torch.tensor([[10.0, 20.0, 50.0, 40.0], [-8.0, -8.0, 8.0, 8.0]])
DELTAS = torch.tensor([[0.1, -0.2, 0.3, -0.4], [0.0, 0.5, -1.0, 0.2]])
DENORMALISE = dict(
    target_means=(0.1, 0.0, -0.2, 0.1), target_stds=(0.1, 0.2, 0.3, 0.4)
)
CLAMP = dict(add_ctr_clamp=True)
STDS = torch.tensor([[0.02, 0.03, 0.04, 0.01], [0.05, 0.01, 0.02, 0.06]])


@pytest.mark.parametrize(
    'coder',
    [
        DeltaXYWHBBoxCoder(),
        DeltaXYWHBBoxCoder(**DENORMALISE),
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


# Offsets that the decoders below clip, next to some that they do not.
CLIPPED = torch.tensor(
    [
        [0.1, -0.2, 6.0, 0.3],
        [0.1, -0.2, 0.3, -6.0],
        [0.9, -0.2, 6.0, -6.0],
        [-0.9, 1.1, 4.13, -4.13],
        [40.0, -40.0, 4.14, -4.14],
        [0.0, 0.0, 1e4, -1e4],
    ]
)


@pytest.mark.parametrize('denormalise', [{}, DENORMALISE])
@pytest.mark.parametrize('clamp', [{}, CLAMP, dict(**CLAMP, ctr_clamp=7)])
@pytest.mark.parametrize('clip_border', [True, False])
@pytest.mark.parametrize(
    'kind', [DeltaXYWHBBoxCoder, DeltaXYWHBBoxCoderForGLIP]
)
def test_is_the_decoders_jacobian_where_it_clips(
    kind, clip_border, clamp, denormalise
):
    coder = kind(clip_border=clip_border, **clamp, **denormalise)
    deltas = torch.cat([CLIPPED, DELTAS]).double()
    scales, shifts = map(deltas.new_tensor, (coder.stds, coder.means))
    deltas = (deltas - shifts) / scales
    priors = PRIORS[:1].double().repeat(len(deltas), 1)
    stds = STDS[:1].double().repeat(len(deltas), 1)
    jacobian = torch.autograd.functional.jacobian(
        lambda offsets: coder.decode(priors, offsets).sum(dim=0), deltas
    )  # (4, n, 4): boxes do not depend on each other's offsets
    expected = (jacobian * stds).square().sum(dim=2).sqrt().T
    found = decode_delta_xywh_stds(coder, priors, deltas, stds)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize('clamp', [{}, CLAMP])
def test_agrees_with_sampling_where_the_decoder_clips(clamp):
    coder = DeltaXYWHBBoxCoder(**clamp)
    rows = [0, 1, 2, 4]  # far from every limit, as seen from their stds
    deltas, count = CLIPPED[rows], 50_000
    priors = PRIORS[:1].repeat(len(rows), 1)
    stds = torch.tensor([[0.02, 0.03, 0.001, 0.001]]).repeat(len(rows), 1)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn((count, *deltas.shape), generator=generator) * stds
    boxes = coder.decode(
        priors.repeat(count, 1), (deltas + noise).reshape(-1, 4)
    )
    expected = boxes.reshape(count, -1, 4).std(dim=0)
    found = decode_delta_xywh_stds(coder, priors, deltas, stds)
    torch.testing.assert_close(found, expected, rtol=0.02, atol=1e-3)


def test_a_clipped_width_has_the_std_of_the_centre_alone():
    prior = torch.tensor([[0.0, 0.0, 40.0, 40.0]])
    deltas = torch.tensor([[0.0, 0.0, 6.0, 0.0]])
    stds = decode_delta_xywh_stds(
        DeltaXYWHBBoxCoder(), prior, deltas, torch.full((1, 4), 0.05)
    )
    across, along = 40 * 0.05, 40 * 0.05 * 1.25**0.5
    expected = torch.tensor([[across, along, across, along]])
    torch.testing.assert_close(stds, expected)


def test_accepts_box_types_and_no_box():
    coder = DeltaXYWHBBoxCoder()
    boxes = HorizontalBoxes(PRIORS)
    torch.testing.assert_close(
        decode_delta_xywh_stds(coder, boxes, DELTAS, STDS),
        decode_delta_xywh_stds(coder, PRIORS, DELTAS, STDS),
    )
    none = decode_delta_xywh_stds(coder, PRIORS[:0], DELTAS[:0], STDS[:0])
    assert none.shape == (0, 4)
