"""Models, registered in mmdet's own registry."""

from .dense_heads import KLRPNHead
from .losses import KLDivLoss, gaussian_kl_div

__all__ = ['KLDivLoss', 'KLRPNHead', 'gaussian_kl_div']
