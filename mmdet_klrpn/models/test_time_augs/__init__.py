"""Test-time augmentation."""

from .std_det_tta import StdDetTTAModel

__all__ = ['StdDetTTAModel']
