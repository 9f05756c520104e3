"""How a raw network output becomes a log-variance, and that an objectness.

Vocabulary: the raw output z of an anchor is an objectness logit, as RPN's is.
Large z means a small variance. ``min_std`` is the floor that a Dirac target
needs, ``neg_std`` the standard deviation of a negative's target; both, and
every variance here, are in encoded offsets.
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import softplus

# exp(30) times the largest squared error stays finite in float32.
_MAX_LOG_VAR = 30.0


class BoundedVariance:
    r"""Variance between ``min_std``\ :sup:`2` and ``neg_std``\ :sup:`2`.

    With p = sigmoid(z),

    .. math:: \sigma^2 = p\,\sigma_{min}^2 + (1 - p)\,\sigma_{neg}^2,

    the form of the variance that minimises the expected loss of an anchor
    that is positive with probability P and then has squared error e^2:
    P e^2 + (1 - P) neg_std^2. The objectness

    .. math:: 1 - \sigma^2 / \sigma_{neg}^2
              = p\,(1 - \sigma_{min}^2 / \sigma_{neg}^2)

    thus estimates P (1 - e^2 / neg_std^2). Bounds are kept smoothly, so a
    finite logit never stops receiving a gradient before float32 rounds it off.

    Args:
        min_std (float): Floor of the standard deviation.
        neg_std (float): Its ceiling, the standard deviation of a negative.
    """

    def __init__(self, min_std: float, neg_std: float) -> None:
        self.neg_log_var = 2 * math.log(neg_std)
        self.range = 1 - (min_std / neg_std) ** 2

    def log_var(self, logits: Tensor) -> Tensor:
        """Log-variance of logits, elementwise, any shape."""
        return self.neg_log_var + torch.log1p(-self.range * logits.sigmoid())

    def objectness(self, log_var: Tensor) -> Tensor:
        """Objectness in [0, 1], elementwise, decreasing in the variance."""
        # expm1 keeps the digits of the small objectness of background.
        return -torch.expm1(log_var - self.neg_log_var).clamp(max=0)


class FreeVariance:
    r"""Variance free above a floor: log sigma^2 = 2 log(neg_std) - z.

    The floor is kept smoothly, by softplus. The objectness is
    :math:`\sigma_{neg}^2 / (\sigma_{neg}^2 + \sigma^2)`: it agrees with
    1 - sigma^2 / neg_std^2 to first order for a confident anchor, and neither
    leaves [0, 1] nor ties where sigma exceeds neg_std.

    Args:
        min_std (float): Floor of the standard deviation.
        neg_std (float): The standard deviation of a negative, where z = 0.
    """

    def __init__(self, min_std: float, neg_std: float) -> None:
        self.min_log_var = 2 * math.log(min_std)
        self.neg_log_var = 2 * math.log(neg_std)

    def log_var(self, logits: Tensor) -> Tensor:
        """Log-variance of logits, elementwise, any shape."""
        log_var = (self.neg_log_var - logits).clamp(max=_MAX_LOG_VAR)
        return self.min_log_var + softplus(log_var - self.min_log_var)

    def objectness(self, log_var: Tensor) -> Tensor:
        """Objectness in [0, 1], elementwise, decreasing in the variance."""
        return torch.sigmoid(self.neg_log_var - log_var)


VARIANCE_MAPS = dict(bounded=BoundedVariance, free=FreeVariance)
