"""Metrics."""

from .proposal_metric import ProposalMetric
from .std_coco_metric import StdCocoMetric

__all__ = ['ProposalMetric', 'StdCocoMetric']
