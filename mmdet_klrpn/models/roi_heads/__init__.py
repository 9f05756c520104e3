"""RoI heads that mmdet lacks."""

from .bbox_heads import RFCNBBoxHead, VGGBBoxHead
from .rfcn_roi_head import RFCNRoIHead
from .roi_extractors import PSRoIExtractor

__all__ = [
    'PSRoIExtractor',
    'RFCNBBoxHead',
    'RFCNRoIHead',
    'VGGBBoxHead',
]
