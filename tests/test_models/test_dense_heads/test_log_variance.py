"""From logits to log-variances and objectness."""

import math

import pytest
import torch

from mmdet_klrpn.models.dense_heads.log_variance import (
    log_variance,
    logit_objectness,
    objectness,
)

MIN_STD, NEG_STD = 0.03, 0.5


def test_variance_is_exponential_above_the_floor_and_linear_below_zero():
    logits = torch.tensor([-9.0, -1, 0, 1, 3]).double()
    shape = torch.tensor([10, 2, 1, math.exp(-1), math.exp(-3)]).double()
    expected = MIN_STD**2 + (NEG_STD**2 - MIN_STD**2) * shape
    variance = log_variance(logits, MIN_STD, NEG_STD).exp()
    torch.testing.assert_close(variance, expected)


def test_log_variance_decreases_and_keeps_the_floor():
    log_var = log_variance(
        torch.linspace(-20, 12, 3001).double(), MIN_STD, NEG_STD
    )
    assert (log_var.diff() < 0).all()
    assert log_var.min() >= 2 * math.log(MIN_STD)


def test_log_variance_is_smooth():
    logits = torch.linspace(-1, 1, 8, requires_grad=True, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda z: log_variance(z, MIN_STD, NEG_STD), (logits,)
    )


@pytest.mark.parametrize('logit', [-1e4, 1e4])
def test_adversarial_logits_stay_finite(logit):
    logits = torch.tensor([logit], requires_grad=True)
    log_var = log_variance(logits, MIN_STD, NEG_STD)
    log_var.sum().backward()
    assert torch.isfinite(log_var).all()
    assert torch.isfinite(logits.grad).all()
    assert 0 <= objectness(log_var, NEG_STD).item() <= 1


@pytest.mark.parametrize('start', [-20, -9, -1])
def test_background_does_not_tie(start):
    logits = torch.linspace(start, start + 1, 2000)
    scores = objectness(log_variance(logits, MIN_STD, NEG_STD), NEG_STD)
    assert len(scores.unique()) > 1900


def test_objectness_decreases_within_0_and_1():
    log_var = torch.linspace(-20, 20, 4001).double()
    scores = objectness(log_var, NEG_STD)
    assert (scores.diff() < 0).all()
    assert scores.min() >= 0
    assert scores.max() <= 1


def test_objectness_is_the_missing_share_of_the_variance():
    variance = torch.tensor([0.001, 0.1, 0.2, 0.25, 0.5]).double()
    scores = objectness(variance.log(), NEG_STD)
    sure = 0.01 + 0.99 * (1 - variance[:4] / NEG_STD**2)
    torch.testing.assert_close(scores[:4], sure)
    assert scores[4].item() == pytest.approx(0.01 / 2)


@pytest.mark.parametrize(('min_std', 'neg_std'), [(0.03, 0.5), (0.4, 0.5)])
def test_objectness_of_logits_is_that_of_their_variances(min_std, neg_std):
    logits = torch.cat([torch.linspace(-30, 30, 1001), torch.tensor([1e4])])
    torch.testing.assert_close(
        logit_objectness(logits, min_std, neg_std),
        objectness(log_variance(logits, min_std, neg_std), neg_std),
        rtol=1e-5,
        atol=1e-7,
    )
