"""What takes part in a training beside the model."""

from .hooks import ProposalVisualizationHook

__all__ = ['ProposalVisualizationHook']
