"""Dense heads."""

from .kl_rpn_head import KLRPNHead

__all__ = ['KLRPNHead']
