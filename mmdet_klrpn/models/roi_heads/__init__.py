"""RoI heads that mmdet lacks."""

from .bbox_heads import RFCNBBoxHead, VGGBBoxHead
from .objectness_prior import ObjectnessPrior
from .objectness_roi_head import ObjectnessRoIHead, weigh_by_objectness
from .rfcn_roi_head import RFCNRoIHead
from .roi_extractors import PSRoIExtractor

__all__ = [
    'ObjectnessPrior',
    'ObjectnessRoIHead',
    'PSRoIExtractor',
    'RFCNBBoxHead',
    'RFCNRoIHead',
    'VGGBBoxHead',
    'weigh_by_objectness',
]
