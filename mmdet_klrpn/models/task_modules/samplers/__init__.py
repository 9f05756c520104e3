"""Sampling of anchors."""

from .batch_random import sample_batch
from .stratified import sample_stratified

__all__ = ['sample_batch', 'sample_stratified']
