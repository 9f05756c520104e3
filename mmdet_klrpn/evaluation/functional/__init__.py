"""Functions on arrays that metrics use."""

from .calibration import (
    COVERAGES,
    LEVELS,
    coverage,
    fit_std_scale,
    objectness_calibration,
    reliability_diagram,
    std_calibration,
)
from .coco_matching import match_coco_proposals
from .matching import (
    ProposalErrors,
    concatenate,
    match_proposals,
    proposal_errors,
)

__all__ = [
    'COVERAGES',
    'LEVELS',
    'ProposalErrors',
    'concatenate',
    'coverage',
    'fit_std_scale',
    'match_coco_proposals',
    'match_proposals',
    'objectness_calibration',
    'proposal_errors',
    'reliability_diagram',
    'std_calibration',
]
