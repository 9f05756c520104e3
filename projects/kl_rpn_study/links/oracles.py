"""From an image's proposals to its detections, with one part made perfect.

A proposal p has a refined box r(p, c) and a score s(p, c) for each class c.
An object has a box g of class c(g). Crowds are no objects. All ways end with
the detector's own NMS and number of detections:

``detector``: boxes r(p, c) and scores s(p, c).
``oracle classification``: p belongs to the g of the largest IoU of r(p, c(g))
    and g. Where that IoU is 0.5 or more, it is the score of r(p, c(g)) as
    class c(g). There are no other detections, and no score threshold.
``oracle boxes``: p belongs to the g of the largest IoU of p and g. Where that
    IoU is 0.5 or more, g replaces r(p, c) in every class.
``oracle proposals``: the objects' boxes are the proposals.
``n proposals, power k``: of the n best proposals, with s(p, c) o(p)^k as the
    score, where o(p) is the proposal's. ``ObjectnessRoIHead`` does the same.
"""

from typing import Dict, NamedTuple

import numpy as np
import torch
from mmdet.models.layers import multiclass_nms
from mmdet.structures.bbox import bbox_overlaps
from mmengine.config import ConfigDict
from torch import Tensor

MIN_IOU = 0.5
# Powers by the number of proposals, None being all of them.
POWERS = {None: (0.0, 0.5, 1.0, 2.0), 100: (0.0, 1.0), 10: (0.0, 1.0)}
Detections = Dict[str, np.ndarray]


class Refined(NamedTuple):
    """Output of a bbox head for n proposals, in pixels of the image."""

    proposals: Tensor  # (n, 4) x1, y1, x2, y2
    bboxes: Tensor  # (n, C, 4), refined for each class
    scores: Tensor  # (n, C + 1), the last of the background


def oracle_classification(
    refined: Refined, gt_bboxes: Tensor, gt_labels: Tensor
) -> Refined:
    """Give each refined box the class of its object, and the IoU as score."""
    scores = torch.zeros_like(refined.scores)
    if len(gt_bboxes) and len(scores):
        # Boxes that the object's own class gives, by object: (k, n, 4).
        boxes = refined.bboxes[:, gt_labels].transpose(0, 1)
        ious = bbox_overlaps(boxes, gt_bboxes[:, None])[..., 0]
        best, own = ious.max(dim=0)
        (hits,) = torch.where(best >= MIN_IOU)
        scores[hits, gt_labels[own[hits]]] = best[hits]
    return refined._replace(scores=scores)


def oracle_boxes(refined: Refined, gt_bboxes: Tensor) -> Refined:
    """Replace refined boxes by the box of the proposal's object."""
    bboxes = refined.bboxes.clone()
    if len(gt_bboxes) and len(bboxes):
        best, own = bbox_overlaps(refined.proposals, gt_bboxes).max(dim=1)
        hits = best >= MIN_IOU
        bboxes[hits] = gt_bboxes[own[hits], None]
    return refined._replace(bboxes=bboxes)


def detect(
    refined: Refined, test_cfg: ConfigDict, score_thr: float
) -> Detections:
    """Apply score threshold and NMS.

    Returns:
        dict[str, np.ndarray]: ``bboxes`` (m, 4), ``scores`` and ``labels``.
    """
    found, labels = torch.zeros((0, 5)), torch.zeros(0)
    if len(refined.scores):
        found, labels = multiclass_nms(
            refined.bboxes.flatten(1),
            refined.scores,
            score_thr,
            test_cfg.nms,
            test_cfg.max_per_img,
        )
    found = found.cpu().numpy()
    return dict(
        bboxes=found[:, :4], scores=found[:, 4], labels=labels.cpu().numpy()
    )


def detect_each_way(
    own: Refined,
    given: Refined,
    gt_bboxes: Tensor,
    gt_labels: Tensor,
    test_cfg: ConfigDict,
) -> Dict[str, Detections]:
    """Detections of an image as the detector's, and with each oracle.

    Outputs are for its own proposals, and given the objects' boxes, (k, 4),
    of labels (k, ). The config is the detector's ``test_cfg.rcnn``.
    """
    classified = oracle_classification(own, gt_bboxes, gt_labels)
    boxed, threshold = oracle_boxes(own, gt_bboxes), test_cfg.score_thr
    return {
        'detector': detect(own, test_cfg, threshold),
        'oracle classification': detect(classified, test_cfg, 0.0),
        'oracle boxes': detect(boxed, test_cfg, threshold),
        'oracle proposals': detect(given, test_cfg, threshold),
    }


def detect_by_objectness(
    refined: Refined, objectness: Tensor, test_cfg: ConfigDict
) -> Dict[str, Detections]:
    """Detections of an image for each number of proposals and power.

    The output is of n proposals, the best first, and objectness, (n, ), are
    their scores.
    """
    found = {}
    for number, powers in POWERS.items():
        best = Refined(*(part[:number] for part in refined))
        for power in powers:
            scores = best.scores * objectness[:number, None] ** power
            found[f'{number or "all"} proposals, power {power:g}'] = detect(
                best._replace(scores=scores), test_cfg, test_cfg.score_thr
            )
    return found
