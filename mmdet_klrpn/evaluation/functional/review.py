"""Whether stds find the boxes that somebody should look at again.

Shapes are those of :mod:`.calibration`.
"""

from typing import Dict

import numpy as np

SHARE = 0.1
POOR_IOU = 0.75


def review(
    errors: np.ndarray,
    stds: np.ndarray,
    sizes: np.ndarray,
    scores: np.ndarray,
) -> Dict[str, float]:
    """How many boxes are poor among those flagged by std, and by score.

    A box is poor if its IoU with its object is below ``POOR_IOU``. Flagged is
    the ``SHARE`` of the boxes with the largest stds over the box's extent,
    averaged over its edges, or with the lowest scores.

    Args:
        errors (np.ndarray): (m, 4), in pixels.
        stds (np.ndarray): (m, 4), in pixels.
        sizes (np.ndarray): (m, 4), the object's extent along each, in pixels.
        scores (np.ndarray): (m, ).

    Returns:
        dict[str, float]: Nothing if m is 0, else ``poor``, the share of all
        boxes that are poor, and ``poor_by_std`` and ``poor_by_score``, that
        of the flagged ones, of at least one box.
    """
    if not len(errors):
        return {}
    poor = box_ious(errors, sizes) < POOR_IOU
    doubt = (stds / box_sizes(errors, sizes)).mean(axis=1)
    count = max(round(SHARE * len(errors)), 1)
    return dict(
        poor=float(poor.mean()),
        poor_by_std=float(poor[np.argsort(-doubt)[:count]].mean()),
        poor_by_score=float(poor[np.argsort(scores)[:count]].mean()),
    )


def box_sizes(errors: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Extents (m, 4) of the boxes, whose objects' and errors are given."""
    growth = errors[:, :2] - errors[:, 2:]
    return sizes + np.tile(growth, 2)


def box_ious(errors: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """IoU (m, ) of boxes with their objects, of which errors are given."""
    extents = sizes[:, :2]
    low, high = -errors[:, :2], extents - errors[:, 2:]
    overlap = np.minimum(high, extents) - np.maximum(low, 0)
    overlap = overlap.clip(min=0).prod(axis=1)
    union = (high - low).prod(axis=1) + extents.prod(axis=1) - overlap
    return overlap / union
