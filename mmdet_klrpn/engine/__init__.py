"""What acts on a running training."""

from .hooks import ProposalVisualizationHook

__all__ = ['ProposalVisualizationHook']
