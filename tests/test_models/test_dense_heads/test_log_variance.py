"""From logits to log-variances and objectness."""

import math

import pytest
import torch

from mmdet_klrpn.models.dense_heads.log_variance import (
    LOG_VARIANCES,
    bounded_log_var,
    free_log_var,
    objectness,
)

MIN_STD, NEG_STD = 0.03, 0.5


@pytest.fixture(params=sorted(LOG_VARIANCES))
def log_variance(request):
    function = LOG_VARIANCES[request.param]
    return lambda logits: function(logits, MIN_STD, NEG_STD)


def test_log_var_decreases_and_keeps_the_floor(log_variance):
    log_var = log_variance(torch.linspace(-12, 12, 1001).double())
    assert (log_var.diff() < 0).all()
    assert log_var.min() >= 2 * math.log(MIN_STD)


@pytest.mark.parametrize('logit', [-1e4, 1e4])
def test_adversarial_logits_stay_finite(log_variance, logit):
    logits = torch.tensor([logit], requires_grad=True)
    log_var = log_variance(logits)
    log_var.sum().backward()
    assert torch.isfinite(log_var).all()
    assert torch.isfinite(logits.grad).all()
    assert 0 <= objectness(log_var, NEG_STD).item() <= 1


def test_background_does_not_tie(log_variance):
    log_var = log_variance(torch.linspace(-9, 0, 2000))
    assert len(objectness(log_var, NEG_STD).unique()) > 1800


def test_free_variance_is_the_exponential_above_its_floor():
    logits = torch.linspace(-4, 4, 101).double()
    variance = free_log_var(logits, 1e-6, NEG_STD).exp()
    torch.testing.assert_close(variance, NEG_STD**2 * (-logits).exp())


def test_bounded_variance_is_the_weighted_mean_of_its_bounds():
    logits = torch.linspace(-6, 6, 101).double()
    p = logits.sigmoid()
    variance = bounded_log_var(logits, MIN_STD, NEG_STD).exp()
    expected = p * MIN_STD**2 + (1 - p) * NEG_STD**2
    torch.testing.assert_close(variance, expected)


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
    torch.testing.assert_close(scores[4].item(), 0.01 / 2)
