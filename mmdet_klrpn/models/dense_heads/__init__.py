"""Dense heads."""

from .kl_rpn_head import KLRPNHead
from .sparse_rpn_head import SparseRPNHead

__all__ = ['KLRPNHead', 'SparseRPNHead']
