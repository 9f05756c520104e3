"""Backbones that mmdet lacks."""

from .vgg import VGG

__all__ = ['VGG']
