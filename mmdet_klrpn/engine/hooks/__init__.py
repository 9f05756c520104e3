"""Hooks of mmengine's runner."""

from .proposal_visualization_hook import ProposalVisualizationHook

__all__ = ['ProposalVisualizationHook']
