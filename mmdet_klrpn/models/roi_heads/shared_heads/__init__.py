"""Last stages of backbones, run by the RoI head."""

from .mobilenet_v2_layer import MobileNetV2Layer

__all__ = ['MobileNetV2Layer']
