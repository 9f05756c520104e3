"""Evaluation."""

from .metrics import ProposalMetric

__all__ = ['ProposalMetric']
