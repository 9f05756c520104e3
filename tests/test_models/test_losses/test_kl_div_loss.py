"""gaussian_kl_div and KLDivLoss against torch's own distributions."""

import math

import pytest
import torch
from mmdet.registry import MODELS
from torch.distributions import Normal, kl_divergence

from mmdet_klrpn.models.losses import KLDivLoss, gaussian_kl_div


def random_case(shape=(50, 4), dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    mean, target, log_var, log_std = (
        torch.randn(shape, generator=generator, dtype=dtype) for _ in range(4)
    )
    return mean, 2 * log_var, target, log_std.exp()


def test_equals_torch_distributions():
    mean, log_var, target_mean, target_std = random_case()
    expected = kl_divergence(
        Normal(target_mean, target_std), Normal(mean, (log_var / 2).exp())
    )
    kl = gaussian_kl_div(mean, log_var, target_mean, target_std)
    torch.testing.assert_close(kl, expected, rtol=0, atol=1e-9)
    assert (kl >= 0).all()


def test_exchanged_arguments_give_the_reverse_direction():
    mean, log_var, target_mean, target_std = random_case()
    expected = kl_divergence(
        Normal(mean, (log_var / 2).exp()), Normal(target_mean, target_std)
    )
    kl = gaussian_kl_div(
        target_mean, 2 * target_std.log(), mean, (log_var / 2).exp()
    )
    torch.testing.assert_close(kl, expected, rtol=0, atol=1e-9)


def test_dirac_is_the_negative_log_likelihood_up_to_a_constant():
    mean, log_var, target_mean, _ = random_case()
    prediction = Normal(mean, (log_var / 2).exp())
    expected = -prediction.log_prob(target_mean) - 0.5 * math.log(2 * math.pi)
    kl = gaussian_kl_div(mean, log_var, target_mean, 0.0)
    torch.testing.assert_close(kl, expected, rtol=0, atol=1e-9)


def test_dirac_is_the_limit_of_narrow_targets():
    mean, log_var, target_mean, _ = random_case()
    std = 1e-4
    narrow = gaussian_kl_div(mean, log_var, target_mean, std)
    entropy = math.log(std) + 0.5
    dirac = gaussian_kl_div(mean, log_var, target_mean, 0.0)
    torch.testing.assert_close(narrow + entropy, dirac, rtol=1e-5, atol=1e-5)


def test_mixed_dirac_and_gaussian_targets():
    mean, log_var, target_mean, target_std = random_case((6, 4))
    target_std[::2] = 0
    target_std.requires_grad_()
    kl = gaussian_kl_div(mean, log_var, target_mean, target_std)
    for row, std in enumerate(target_std.detach()):
        for column in range(4):
            expected = gaussian_kl_div(
                mean[row, column],
                log_var[row, column],
                target_mean[row, column],
                float(std[column]),
            )
            assert kl[row, column].item() == pytest.approx(expected.item())
    kl.sum().backward()
    assert torch.isfinite(target_std.grad).all()


@pytest.mark.parametrize(
    ('pos_std', 'error'), [(0.0, 0.2), (0.1, 0.2), (0.3, 0.0)]
)
def test_minimum_is_the_second_moment_of_the_target(pos_std, error):
    best = torch.tensor(pos_std**2 + error**2, dtype=torch.float64).log()
    log_var = best.clone().requires_grad_()
    mean = torch.zeros((), dtype=torch.float64)
    gaussian_kl_div(mean, log_var, error, pos_std).backward()
    assert log_var.grad.item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize('target_std', [0.0, 0.3])
def test_gradcheck(target_std):
    mean, log_var, target_mean, _ = random_case((5, 4))
    mean.requires_grad_()
    log_var.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda m, v: gaussian_kl_div(m, v, target_mean, target_std),
        (mean, log_var),
    )


def test_gradcheck_of_the_target():
    mean, log_var, target_mean, target_std = random_case((5, 4))
    target_mean.requires_grad_()
    target_std.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda t, s: gaussian_kl_div(mean, log_var, t, s),
        (target_mean, target_std),
    )


@pytest.mark.parametrize('target_std', [0.0, 0.05, 1.0])
@pytest.mark.parametrize('error', [0.0, 1.0, -1e4])
def test_finite_value_and_gradient(target_std, error):
    log_var = torch.linspace(-30, 30, 61, requires_grad=True)
    mean = torch.zeros(61, requires_grad=True)
    kl = gaussian_kl_div(mean, log_var, error, target_std)
    kl.sum().backward()
    for tensor in (kl, mean.grad, log_var.grad):
        assert torch.isfinite(tensor).all()


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    mean, log_var, target_mean, target_std = (
        tensor.to(dtype) for tensor in random_case(dtype=torch.float32)
    )
    expected = gaussian_kl_div(
        mean.double(), log_var.double(), target_mean, target_std
    )
    with torch.autocast('cpu', dtype=torch.bfloat16):
        kl = gaussian_kl_div(mean, log_var, target_mean, target_std)
    assert kl.dtype == torch.float32
    torch.testing.assert_close(kl.double(), expected, rtol=1e-5, atol=1e-5)


def test_broadcasts_one_std_over_four_offsets():
    mean, log_var, target_mean, _ = random_case()
    shared = gaussian_kl_div(mean, log_var[:, :1], target_mean, 0.1)
    repeated = log_var[:, :1].expand(-1, 4)
    expected = gaussian_kl_div(mean, repeated, target_mean, 0.1)
    assert shared.shape == (50, 4)
    torch.testing.assert_close(shared, expected)


def test_negative_target_std_is_refused():
    mean = torch.zeros(1)
    with pytest.raises(ValueError, match=r'target_std must be >= 0.*-1'):
        gaussian_kl_div(mean, mean, 0.0, -1)


def test_registered_in_mmdet():
    loss = MODELS.build(dict(type='KLDivLoss', loss_weight=2.0))
    assert isinstance(loss, KLDivLoss)
    assert loss.loss_weight == 2.0


def test_reductions_weights_and_factor():
    case = random_case((6, 4))
    kl = gaussian_kl_div(*case)
    loss = KLDivLoss(loss_weight=3.0)
    weight = torch.arange(6.0, dtype=torch.float64)[:, None]
    for value, expected in [
        (loss(*case), 3 * kl.mean()),
        (loss(*case, reduction_override='sum'), 3 * kl.sum()),
        (loss(*case, reduction_override='none'), 3 * kl),
        (loss(*case, weight), 3 * (weight * kl).mean()),
        (loss(*case, weight, avg_factor=7), 3 * (weight * kl).sum() / 7),
        (KLDivLoss(reduction='sum')(*case), kl.sum()),
    ]:
        torch.testing.assert_close(value, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize('avg_factor', [None, 0, 8])
def test_no_element_is_zero_with_a_gradient(avg_factor):
    mean = torch.zeros((0, 4), requires_grad=True)
    log_var = torch.zeros((0, 1), requires_grad=True)
    loss = KLDivLoss()(mean, log_var, mean.detach(), 0.0, None, avg_factor)
    loss.backward()
    assert loss.item() == 0
    assert mean.grad.shape == (0, 4)
    assert log_var.grad.shape == (0, 1)


def test_bad_reductions_are_refused():
    mean = torch.zeros(1)
    with pytest.raises(ValueError, match=r"reduction must be .* got 'max'"):
        KLDivLoss(reduction='max')
    with pytest.raises(ValueError, match='reduction must be'):
        KLDivLoss()(mean, mean, mean, 1.0, reduction_override='max')
    with pytest.raises(ValueError, match='avg_factor'):
        KLDivLoss(reduction='sum')(mean, mean, mean, 1.0, avg_factor=2)


@pytest.mark.parametrize('half_width', [0.5, 1.0, 3.0])
def test_a_uniform_target_acts_as_a_gaussian_of_its_variance(half_width):
    """By numerical integration: up to a constant, which no gradient sees."""
    mean = torch.tensor([-0.4, 0.0, 0.3, 1.1], dtype=torch.float64)
    log_var = torch.tensor([-2.0, 0.0, 0.5, 2.0], dtype=torch.float64)
    # Midpoints of intervals that cover the uniform's support.
    count = 100_000
    points = torch.arange(count, dtype=torch.float64).add(0.5) / count
    points = half_width * (2 * points[:, None] - 1)
    predicted = torch.distributions.Normal(mean, log_var.mul(0.5).exp())
    uniform = -predicted.log_prob(points).mean(0) - math.log(2 * half_width)
    gaussian = gaussian_kl_div(mean, log_var, 0.0, half_width / math.sqrt(3))
    difference = uniform - gaussian
    torch.testing.assert_close(
        difference, difference[:1].expand(4), rtol=0, atol=1e-8
    )
