"""Hooks and runners of a training."""

from .hooks import ProposalVisualizationHook, ResumeSeedHook
from .runner import CheckpointRunner

__all__ = ['CheckpointRunner', 'ProposalVisualizationHook', 'ResumeSeedHook']
