"""Evaluation."""

from .box_errors import FirstStageErrors, SecondStageErrors
from .metrics import ProposalMetric, StdCocoMetric

__all__ = [
    'FirstStageErrors',
    'ProposalMetric',
    'SecondStageErrors',
    'StdCocoMetric',
]
