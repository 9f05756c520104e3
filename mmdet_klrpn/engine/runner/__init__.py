"""Runners that check checkpoints."""

from .checkpoint_runner import CheckpointRunner

__all__ = ['CheckpointRunner']
