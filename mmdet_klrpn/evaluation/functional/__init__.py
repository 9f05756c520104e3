"""Functions on arrays that metrics use."""

from .calibration import (
    COVERAGES,
    LEVELS,
    coverage,
    fit_std_scale,
    interval_factors,
    objectness_calibration,
    reliability_diagram,
    std_calibration,
)
from .coco_matching import annotated_boxes, match_coco_proposals
from .matching import (
    ProposalErrors,
    concatenate,
    match_proposals,
    proposal_errors,
)
from .review import box_ious, review

__all__ = [
    'COVERAGES',
    'LEVELS',
    'ProposalErrors',
    'annotated_boxes',
    'box_ious',
    'concatenate',
    'coverage',
    'fit_std_scale',
    'interval_factors',
    'match_coco_proposals',
    'match_proposals',
    'objectness_calibration',
    'proposal_errors',
    'reliability_diagram',
    'review',
    'std_calibration',
]
