"""Models, registered in mmdet's own registry."""

from .backbones import VGG
from .dense_heads import KLRPNHead
from .losses import KLDivLoss, gaussian_kl_div
from .roi_heads import (
    MobileNetV2Layer,
    PSRoIExtractor,
    RFCNBBoxHead,
    RFCNRoIHead,
    VGGBBoxHead,
)

__all__ = [
    'VGG',
    'KLDivLoss',
    'KLRPNHead',
    'MobileNetV2Layer',
    'PSRoIExtractor',
    'RFCNBBoxHead',
    'RFCNRoIHead',
    'VGGBBoxHead',
    'gaussian_kl_div',
]
