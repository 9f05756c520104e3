"""Sampling of anchors."""

from .batch_random import sample_batch

__all__ = ['sample_batch']
