"""Models, registered in mmdet's own registry."""

from .backbones import VGG
from .dense_heads import KLRPNHead, SparseRPNHead
from .losses import KLDivLoss, gaussian_kl_div
from .roi_heads import (
    ObjectnessRoIHead,
    PSRoIExtractor,
    RFCNBBoxHead,
    RFCNRoIHead,
    VGGBBoxHead,
)
from .task_modules import TopKMaxIoUAssigner

__all__ = [
    'VGG',
    'KLDivLoss',
    'KLRPNHead',
    'ObjectnessRoIHead',
    'PSRoIExtractor',
    'RFCNBBoxHead',
    'RFCNRoIHead',
    'SparseRPNHead',
    'TopKMaxIoUAssigner',
    'VGGBBoxHead',
    'gaussian_kl_div',
]
