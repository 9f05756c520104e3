"""Evaluation."""

from .first_stage_errors import FirstStageErrors
from .metrics import ProposalMetric

__all__ = ['FirstStageErrors', 'ProposalMetric']
