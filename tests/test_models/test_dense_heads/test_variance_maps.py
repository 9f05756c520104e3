"""From logits to log-variances and objectness."""

import math

import pytest
import torch

from mmdet_klrpn.models.dense_heads.variance_maps import (
    VARIANCE_MAPS,
    BoundedVariance,
    FreeVariance,
)

MIN_STD, NEG_STD = 0.03, 0.5


@pytest.fixture(params=sorted(VARIANCE_MAPS))
def variance_map(request):
    return VARIANCE_MAPS[request.param](MIN_STD, NEG_STD)


def test_log_var_decreases_and_keeps_the_floor(variance_map):
    logits = torch.linspace(-12, 12, 1001, dtype=torch.float64)
    log_var = variance_map.log_var(logits)
    assert (log_var.diff() < 0).all()
    assert log_var.min() >= 2 * math.log(MIN_STD)


def test_objectness_decreases_in_the_variance_within_0_and_1(variance_map):
    logits = torch.linspace(-12, 12, 1001, dtype=torch.float64)
    objectness = variance_map.objectness(variance_map.log_var(logits))
    assert (objectness.diff() > 0).all()
    assert objectness.min() >= 0
    assert objectness.max() <= 1


@pytest.mark.parametrize('logit', [-1e4, 1e4])
def test_adversarial_logits_stay_finite(variance_map, logit):
    logits = torch.tensor([logit], requires_grad=True)
    log_var = variance_map.log_var(logits)
    log_var.sum().backward()
    assert torch.isfinite(log_var).all()
    assert torch.isfinite(logits.grad).all()
    assert 0 <= variance_map.objectness(log_var).item() <= 1


def test_background_does_not_tie(variance_map):
    logits = torch.linspace(-9, -4, 2000)
    objectness = variance_map.objectness(variance_map.log_var(logits))
    assert len(objectness.unique()) > 1500


def test_bounded_variance_is_the_weighted_mean_of_its_bounds():
    logits = torch.linspace(-6, 6, 101, dtype=torch.float64)
    p = logits.sigmoid()
    variance_map = BoundedVariance(MIN_STD, NEG_STD)
    variance = variance_map.log_var(logits).exp()
    expected = p * MIN_STD**2 + (1 - p) * NEG_STD**2
    torch.testing.assert_close(variance, expected)
    torch.testing.assert_close(
        variance_map.objectness(variance.log()), 1 - variance / NEG_STD**2
    )


def test_free_variance_is_the_exponential_above_its_floor():
    variance_map = FreeVariance(1e-6, NEG_STD)
    logits = torch.linspace(-4, 4, 101, dtype=torch.float64)
    variance = variance_map.log_var(logits).exp()
    torch.testing.assert_close(variance, NEG_STD**2 * (-logits).exp())
    torch.testing.assert_close(
        variance_map.objectness(variance.log()),
        NEG_STD**2 / (NEG_STD**2 + variance),
    )
