"""Models, registered in mmdet's own registry."""

from .backbones import VGG
from .dense_heads import KLRPNHead, SparseRPNHead
from .losses import KLDivLoss, gaussian_kl_div
from .roi_heads import (
    KLBBoxHead,
    KLBBoxMixin,
    KLRFCNBBoxHead,
    KLVGGBBoxHead,
    ObjectnessRoIHead,
    PSRoIExtractor,
    RFCNBBoxHead,
    RFCNRoIHead,
    VGGBBoxHead,
    VotingBBoxHead,
    VotingBBoxMixin,
)
from .task_modules import TopKMaxIoUAssigner
from .test_time_augs import StdDetTTAModel

__all__ = [
    'VGG',
    'KLBBoxHead',
    'KLBBoxMixin',
    'KLDivLoss',
    'KLRFCNBBoxHead',
    'KLRPNHead',
    'KLVGGBBoxHead',
    'ObjectnessRoIHead',
    'PSRoIExtractor',
    'RFCNBBoxHead',
    'RFCNRoIHead',
    'SparseRPNHead',
    'StdDetTTAModel',
    'TopKMaxIoUAssigner',
    'VGGBBoxHead',
    'VotingBBoxHead',
    'VotingBBoxMixin',
    'gaussian_kl_div',
]
