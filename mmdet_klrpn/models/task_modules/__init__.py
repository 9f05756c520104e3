"""Task modules: what heads are assembled from."""

from .coders import decode_delta_xywh_stds

__all__ = ['decode_delta_xywh_stds']
