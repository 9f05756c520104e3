"""From the raw network output to a log-variance, and from that to a score.

The raw output of an anchor is an objectness logit z, as that of an RPN: large
for a sure object, and then the variance is small. ``min_std`` is the floor
that a Dirac target needs, ``neg_std`` the standard deviation of a negative's
target. Every standard deviation is in encoded offsets.
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import softplus

# exp(30) times the largest squared error stays finite in float32.
_MAX_LOG_VAR = 30.0
# The share of [0, 1] that anchors less sure than a negative's target get.
_BACKGROUND_SHARE = 0.01


def free_log_var(logits: Tensor, min_std: float, neg_std: float) -> Tensor:
    """Log-variance 2 log(neg_std) - z, above a floor and free upwards.

    Softplus keeps the floor, so that no gradient stops there abruptly.

    Args:
        logits (Tensor): Raw outputs z, any shape.
        min_std (float): Floor of the standard deviation.
        neg_std (float): The standard deviation at z = 0.

    Returns:
        Tensor: Log-variances of the same shape.
    """
    floor = 2 * math.log(min_std)
    log_var = (2 * math.log(neg_std) - logits).clamp(max=_MAX_LOG_VAR)
    return floor + softplus(log_var - floor)


def bounded_log_var(logits: Tensor, min_std: float, neg_std: float) -> Tensor:
    r"""Log of the mean of both bounds' variances, weighted by sigmoid(z).

    With p = sigmoid(z), :math:`\sigma^2 = p\,\sigma_{min}^2
    + (1 - p)\,\sigma_{neg}^2`. The minimiser of the expected loss of an anchor
    that is positive with probability P, and then has squared error e^2, has
    this very form: P e^2 + (1 - P) neg_std^2.

    Args:
        logits (Tensor): Raw outputs z, any shape.
        min_std (float): Floor of the standard deviation.
        neg_std (float): Its ceiling.

    Returns:
        Tensor: Log-variances of the same shape.
    """
    share = 1 - (min_std / neg_std) ** 2
    return 2 * math.log(neg_std) + torch.log1p(-share * logits.sigmoid())


def objectness(log_var: Tensor, neg_std: float) -> Tensor:
    r"""Score of an anchor, strictly decreasing in its variance.

    :math:`1 - \sigma^2 / \sigma_{neg}^2` estimates P (1 - e^2 / neg_std^2):
    the probability of an object times how well it is localised. It is laid
    over [0.01, 1]. Below 0.01, the anchors whose variance exceeds that of a
    negative's target keep their order, :math:`0.01\,\sigma_{neg}^2 /
    \sigma^2`, where a clamp at 0 would tie thousands of them.

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


LOG_VARIANCES = dict(free=free_log_var, bounded=bounded_log_var)
