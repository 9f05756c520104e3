"""Heads that classify and refine regions of interest."""

from .kl_bbox_head import (
    KLBBoxHead,
    KLBBoxMixin,
    KLRFCNBBoxHead,
    KLVGGBBoxHead,
)
from .rfcn_bbox_head import RFCNBBoxHead
from .vgg_bbox_head import VGGBBoxHead
from .voting_bbox_head import VotingBBoxHead, VotingBBoxMixin

__all__ = [
    'KLBBoxHead',
    'KLBBoxMixin',
    'KLRFCNBBoxHead',
    'KLVGGBBoxHead',
    'RFCNBBoxHead',
    'VGGBBoxHead',
    'VotingBBoxHead',
    'VotingBBoxMixin',
]
