"""Losses."""

from .kl_div_loss import KLDivLoss, gaussian_kl_div

__all__ = ['KLDivLoss', 'gaussian_kl_div']
