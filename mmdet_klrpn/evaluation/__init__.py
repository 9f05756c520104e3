"""Evaluation."""

from .box_errors import STAGES, FirstStageErrors, SecondStageErrors
from .metrics import ProposalMetric, StdCocoMetric

__all__ = [
    'STAGES',
    'FirstStageErrors',
    'ProposalMetric',
    'SecondStageErrors',
    'StdCocoMetric',
]
