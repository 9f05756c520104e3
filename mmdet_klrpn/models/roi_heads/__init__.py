"""RoI heads that mmdet lacks."""

from .bbox_heads import (
    KLBBoxHead,
    KLBBoxMixin,
    KLRFCNBBoxHead,
    KLVGGBBoxHead,
    RFCNBBoxHead,
    VGGBBoxHead,
    VotingBBoxHead,
    VotingBBoxMixin,
)
from .objectness_prior import ObjectnessPrior
from .objectness_roi_head import ObjectnessRoIHead, weigh_by_objectness
from .rfcn_roi_head import RFCNRoIHead
from .roi_extractors import PSRoIExtractor

__all__ = [
    'KLBBoxHead',
    'KLBBoxMixin',
    'KLRFCNBBoxHead',
    'KLVGGBBoxHead',
    'ObjectnessPrior',
    'ObjectnessRoIHead',
    'PSRoIExtractor',
    'RFCNBBoxHead',
    'RFCNRoIHead',
    'VGGBBoxHead',
    'VotingBBoxHead',
    'VotingBBoxMixin',
    'weigh_by_objectness',
]
