"""Hooks of mmengine's runner."""

from .proposal_visualization_hook import ProposalVisualizationHook
from .resume_seed_hook import ResumeSeedHook

__all__ = ['ProposalVisualizationHook', 'ResumeSeedHook']
