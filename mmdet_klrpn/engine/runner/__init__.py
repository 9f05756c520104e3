"""Runners, and what they know of checkpoints."""

from .checkpoint_runner import CheckpointRunner

__all__ = ['CheckpointRunner']
