"""RoI heads that mmdet lacks."""

from .bbox_heads import RFCNBBoxHead, VGGBBoxHead
from .rfcn_roi_head import RFCNRoIHead
from .roi_extractors import PSRoIExtractor
from .shared_heads import MobileNetV2Layer

__all__ = [
    'MobileNetV2Layer',
    'PSRoIExtractor',
    'RFCNBBoxHead',
    'RFCNRoIHead',
    'VGGBBoxHead',
]
