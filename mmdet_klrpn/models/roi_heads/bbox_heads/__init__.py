"""Heads that classify and refine regions of interest."""

from .rfcn_bbox_head import RFCNBBoxHead
from .vgg_bbox_head import VGGBBoxHead

__all__ = ['RFCNBBoxHead', 'VGGBBoxHead']
