"""Models, registered in mmdet's own registry."""

from .dense_heads import KLRPNHead, SparseRPNHead
from .losses import KLDivLoss, gaussian_kl_div

__all__ = ['KLDivLoss', 'KLRPNHead', 'SparseRPNHead', 'gaussian_kl_div']
