"""Turn raw network outputs into log-variances, and these into scores.

The raw output of an anchor is an objectness logit z as in an RPN: the larger
it is, the surer the object and the smaller the variance. ``min_std`` is the
floor that a Dirac target needs, ``neg_std`` the standard deviation of a
negative's target. Every standard deviation is in encoded offsets.
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import elu

# Top score of anchors less certain than a negative's target.
_BACKGROUND_SHARE = 0.01


def log_variance(logits: Tensor, min_std: float, neg_std: float) -> Tensor:
    r"""Log-variance of a logit, strictly decreasing.

    .. math:: \sigma^2 = \sigma_{min}^2 + (\sigma_{neg}^2 - \sigma_{min}^2)
              \begin{cases} e^{-z} & z \ge 0 \\ 1 - z & z < 0 \end{cases}

    It is neg_std^2 at z = 0, falls exponentially towards the floor for larger
    z, and rises linearly for smaller z. If it rose exponentially, clear
    background, such as a loaded RPN's logits near -10, would have an
    astronomic divergence; so its gradient is at most 1/2.

    Args:
        logits (Tensor): Raw outputs z, any shape.
        min_std (float): Floor of the standard deviation.
        neg_std (float): The standard deviation at z = 0.

    Returns:
        Tensor: Log-variances of the same shape.
    """
    floor = min_std**2
    return (floor + (neg_std**2 - floor) * (1 + elu(-logits))).log()


def objectness(log_var: Tensor, neg_std: float) -> Tensor:
    r"""Score of an anchor, strictly decreasing in its variance.

    :math:`1 - \sigma^2 / \sigma_{neg}^2`, scaled to [0.01, 1]. Anchors whose
    variance exceeds that of a negative's target get
    :math:`0.01\,\sigma_{neg}^2 / \sigma^2`, because a clamp at 0 would tie
    thousands of them.

    What it estimates follows from the variance that minimises the expected
    loss of an anchor that is positive with probability P and then has the
    squared error e^2. Let v be that variance and k be e^2 + pos_std^2, both in
    units of neg_std^2. Under the forward divergence of negatives,
    v = P k + 1 - P, and the score is P (1 - k): the probability of an object
    times how well it is localised. Under the reverse one,
    (1 - P) v^2 + (2 P - 1) v = P k; for a small k, the score is the odds
    P / (1 - P), up to 1 at P = 1/2.

    Args:
        log_var (Tensor): Log-variances, any shape.
        neg_std (float): The standard deviation of a negative's target.

    Returns:
        Tensor: Scores in [0, 1] of the same shape.
    """
    ratio = log_var - 2 * math.log(neg_std)
    sure = _BACKGROUND_SHARE - (1 - _BACKGROUND_SHARE) * torch.expm1(ratio)
    background = _BACKGROUND_SHARE * torch.exp(-ratio)
    return torch.where(ratio < 0, sure, background)


def logit_objectness(logits: Tensor, min_std: float, neg_std: float) -> Tensor:
    r""":func:`objectness` of :func:`log_variance`, in half the time.

    With :math:`f = 1 - \sigma_{min}^2 / \sigma_{neg}^2`, the variance in units
    of neg_std^2 is :math:`1 + f\,(e^{-z} - 1)` above z = 0 and
    :math:`1 - f z` below.

    Args:
        logits (Tensor): Raw outputs z, any shape.
        min_std (float): Floor of the standard deviation.
        neg_std (float): The standard deviation of a negative's target.

    Returns:
        Tensor: Scores in [0, 1] of the same shape, up to rounding.
    """
    share = 1 - (min_std / neg_std) ** 2
    drop = (1 - _BACKGROUND_SHARE) * share
    # In place, because maps are large; no gradient passes through.
    sure = torch.expm1(-logits).mul_(-drop).add_(_BACKGROUND_SHARE)
    background = (-share * logits).add_(1).reciprocal_()
    background.mul_(_BACKGROUND_SHARE)
    return torch.where(logits > 0, sure, background)
