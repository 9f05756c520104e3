"""Match proposals with objects, and compute the errors of edges."""

from typing import NamedTuple, Optional, Sequence, Tuple

import numpy as np
from mmdet.evaluation import bbox_overlaps

NO_OBJECT = -1
IGNORED = -2


class ProposalErrors(NamedTuple):
    """Proposals of one or more images, as needed for calibration.

    Attributes:
        scores (np.ndarray): (n, ), objectness of each proposal.
        hits (np.ndarray): (n, ), bool, whether it is on an object.
        errors (np.ndarray): (m, 4), object minus proposal, x1, y1, x2, y2 in
            pixels, for proposals on an object; (0, 4) without stds.
        stds (np.ndarray): (m, 4), the predicted std of each, in pixels.
        sizes (np.ndarray): (m, 4), the object's width, height, width, height.
    """

    scores: np.ndarray
    hits: np.ndarray
    errors: np.ndarray
    stds: np.ndarray
    sizes: np.ndarray


def match_proposals(
    bboxes: np.ndarray,
    gt_bboxes: np.ndarray,
    gt_ignored: np.ndarray,
    iou_thr: float = 0.5,
    labels: Optional[Tuple[np.ndarray, np.ndarray]] = None,
) -> np.ndarray:
    """Find the object of the highest IoU with each proposal.

    An object may have several proposals. Taking only the best by IoU would
    select by the very error that the std predicts, and any std would look too
    large.

    Args:
        bboxes (np.ndarray): (n, 4) x1, y1, x2, y2 in pixels.
        gt_bboxes (np.ndarray): (k, 4) likewise.
        gt_ignored (np.ndarray): (k, ), bool, such as crowds. As in COCO, their
            overlap is the share of the proposal's area.
        iou_thr (float): Minimum IoU. Defaults to 0.5.
        labels (tuple[np.ndarray, np.ndarray], optional): Classes (n, ) of
            detections and (k, ) of objects, which must be equal to match.
            Proposals have none.

    Returns:
        np.ndarray: (n, ), index of the object, ``NO_OBJECT`` (-1), or
        ``IGNORED`` (-2) if only an ignored region matches.
    """
    gt_ignored = np.asarray(gt_ignored, dtype=bool)
    matched = np.full(len(bboxes), NO_OBJECT)
    differ = np.zeros((len(bboxes), len(gt_bboxes)), dtype=bool)
    if labels is not None:
        differ = labels[0][:, None] != labels[1]
    (ignored,), (objects,) = gt_ignored.nonzero(), (~gt_ignored).nonzero()
    if len(ignored):
        shares = bbox_overlaps(bboxes, gt_bboxes[ignored], mode='iof')
        shares[differ[:, ignored]] = 0
        matched[shares.max(axis=1) >= iou_thr] = IGNORED
    if len(objects):
        ious = bbox_overlaps(bboxes, gt_bboxes[objects])
        ious[differ[:, objects]] = 0
        hits = ious.max(axis=1) >= iou_thr
        matched[hits] = objects[ious.argmax(axis=1)[hits]]
    return matched


def proposal_errors(
    bboxes: np.ndarray,
    scores: np.ndarray,
    bbox_stds: Optional[np.ndarray],
    gt_bboxes: np.ndarray,
    gt_ignored: np.ndarray,
    max_num: int,
    labels: Optional[Tuple[np.ndarray, np.ndarray]] = None,
) -> ProposalErrors:
    """Hits and errors of an image's best proposals, or detections.

    Args:
        bboxes (np.ndarray): (n, 4) x1, y1, x2, y2 in pixels.
        scores (np.ndarray): (n, ), in any order.
        bbox_stds (np.ndarray, optional): (n, 4), std of each edge in pixels.
        gt_bboxes (np.ndarray): (k, 4) the objects, like the proposals.
        gt_ignored (np.ndarray): (k, ), bool, such as crowds. Proposals that
            match only these are left out.
        max_num (int): Number of proposals to take, the best by score.
        labels (tuple[np.ndarray, np.ndarray], optional): See
            :func:`match_proposals`.

    Returns:
        ProposalErrors: In single precision, as results are gathered.
    """
    best = np.argsort(-scores, kind='stable')[:max_num]
    if labels is not None:
        labels = labels[0][best], labels[1]
    matched = match_proposals(
        bboxes[best], gt_bboxes, gt_ignored, labels=labels
    )
    best, matched = best[matched != IGNORED], matched[matched != IGNORED]
    hits = matched != NO_OBJECT
    errors = stds = sizes = np.zeros((0, 4))
    if bbox_stds is not None:
        objects, own = gt_bboxes[matched[hits]], best[hits]
        errors, stds = objects - bboxes[own], bbox_stds[own]
        sizes = np.tile(objects[:, 2:] - objects[:, :2], 2)
    return ProposalErrors(
        scores[best].astype(np.float32),
        hits,
        *(part.astype(np.float32) for part in (errors, stds, sizes)),
    )


def concatenate(images: Sequence[ProposalErrors]) -> ProposalErrors:
    """Join the errors of one or more images."""
    return ProposalErrors(*map(np.concatenate, zip(*images)))
