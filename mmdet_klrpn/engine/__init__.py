"""What acts on a running training."""

from .hooks import ResumeSeedHook
from .runner import CheckpointRunner

__all__ = ['CheckpointRunner', 'ResumeSeedHook']
