"""KL divergence between a target and a predicted Gaussian over box offsets."""

import math
from typing import Optional, Union

import torch
from mmdet.models.losses.utils import weight_reduce_loss
from mmdet.registry import MODELS
from torch import Tensor, nn


def gaussian_kl_div(
    mean: Tensor,
    log_var: Tensor,
    target_mean: Union[Tensor, float],
    target_std: Union[Tensor, float],
) -> Tensor:
    r"""Elementwise KL(target || prediction) of two Gaussians.

    With the prediction :math:`N(\mu, \sigma^2)` and the target
    :math:`N(t, s^2)` it is

    .. math:: \frac12 \left[ \log\frac{\sigma^2}{s^2}
              + \frac{s^2 + (t - \mu)^2}{\sigma^2} - 1 \right] \ge 0.

    A target of ``target_std`` 0 is a Dirac delta (Seo et al., ICIP 2020). Its
    entropy is an infinite constant and is dropped, which leaves
    :math:`\frac12 [(t - \mu)^2 / \sigma^2 + \log\sigma^2]`: the negative
    log-likelihood up to a constant, legitimately negative and unbounded below
    in ``log_var``, which therefore needs a floor.

    KL(prediction || target) is the same function with the Gaussians exchanged.

    Args:
        mean (Tensor): Predicted means, any shape, in encoded offsets.
        log_var (Tensor): Predicted log-variances, log of encoded offsets
            squared. Values in [-30, 30] give a finite value and gradient.
        target_mean (Tensor | float): Target means, in encoded offsets.
        target_std (Tensor | float): Target standard deviations >= 0, in
            encoded offsets. 0 is the Dirac.

    Returns:
        Tensor: Divergence in nats, of the four arguments' broadcast shape;
        float32, or float64 if ``mean`` or ``log_var`` is. Half precision
        is computed in float32, inside autocast too.

    Raises:
        ValueError: If ``target_std`` is a negative number.
    """
    if not isinstance(target_std, Tensor) and target_std < 0:
        raise ValueError(
            f'target_std must be >= 0 (0 is the Dirac), but got {target_std}'
        )
    # Compute in float32, because exp(-log_var) overflows in float16.
    dtypes = mean.dtype, log_var.dtype
    dtype = torch.float64 if torch.float64 in dtypes else torch.float32
    mean, log_var, target_mean, target_std = (
        x.to(dtype) if isinstance(x, Tensor) else x
        for x in (mean, log_var, target_mean, target_std)
    )
    target_var = target_std**2
    if isinstance(target_std, Tensor):
        # The inner where avoids log(0), whose gradient is nan.
        is_dirac = target_var == 0
        entropy = torch.where(is_dirac, 1.0, target_var).log() + 1
        entropy = torch.where(is_dirac, 0.0, entropy)
    else:
        entropy = math.log(target_var) + 1 if target_var > 0 else 0.0

    second_moment = target_var + (target_mean - mean) ** 2
    cross_entropy = log_var + second_moment * torch.exp(-log_var)
    return 0.5 * (cross_entropy - entropy)


@MODELS.register_module()
class KLDivLoss(nn.Module):
    """KL divergence between target and predicted Gaussians as a loss.

    Args:
        reduction (str): 'none', 'mean' or 'sum'. Defaults to 'mean'.
        loss_weight (float): Factor on the loss. Defaults to 1.0.

    Raises:
        ValueError: If ``reduction`` is none of these.
    """

    def __init__(
        self, reduction: str = 'mean', loss_weight: float = 1.0
    ) -> None:
        super().__init__()
        self.reduction = self._checked(reduction)
        self.loss_weight = loss_weight

    @staticmethod
    def _checked(reduction: str) -> str:
        if reduction not in ('none', 'mean', 'sum'):
            raise ValueError(
                "reduction must be 'none', 'mean' or 'sum', "
                f'but got {reduction!r}'
            )
        return reduction

    def forward(
        self,
        mean: Tensor,
        log_var: Tensor,
        target_mean: Union[Tensor, float],
        target_std: Union[Tensor, float],
        weight: Optional[Tensor] = None,
        avg_factor: Optional[Union[Tensor, float]] = None,
        reduction_override: Optional[str] = None,
    ) -> Tensor:
        """Weight and reduce :func:`gaussian_kl_div`.

        Args:
            mean (Tensor): Predicted means.
            log_var (Tensor): Predicted log-variances.
            target_mean (Tensor | float): Target means.
            target_std (Tensor | float): Target standard deviations.
            weight (Tensor, optional): Factor on each element, broadcast to
                the divergence's shape.
            avg_factor (Tensor | float, optional): Divides the sum in place of
                the number of elements; only with reduction 'mean'.
            reduction_override (str, optional): Replaces ``reduction``.

        Returns:
            Tensor: The loss, a scalar unless the reduction is 'none'. The
            mean over no element is 0, with a gradient of 0.

        Raises:
            ValueError: If ``reduction_override`` is not a reduction, or
                ``avg_factor`` comes with reduction 'sum'.
        """
        reduction = self._checked(reduction_override or self.reduction)
        loss = gaussian_kl_div(mean, log_var, target_mean, target_std)
        if loss.numel() == 0 and reduction == 'mean':
            return loss.sum()  # mean() of an empty tensor is nan
        return self.loss_weight * weight_reduce_loss(
            loss, weight, reduction, avg_factor
        )
