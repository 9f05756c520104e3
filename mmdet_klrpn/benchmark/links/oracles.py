"""Link 4: average precision, as it is and with one part made perfect.

Four ways from an image's proposals to its detections. Let a proposal be p, its
refined box of class c be r(p, c), and its score s(p, c), as the bbox head
gives them; an object's box be g, its class c(g). Each way ends with the
detector's own NMS and greatest number of detections.

``detector``: boxes r(p, c), scores s(p, c), the detector's score threshold.
    Nothing is known.
``oracle classification``: p gets the g of the largest IoU of r(p, c(g)) and g
    and, if that is 0.5 or more, is detected once: in the box r(p, c(g)), as
    class c(g), with that IoU as its score. All other proposals are dropped,
    and there is no score threshold. The proposals and boxes are the
    detector's own; the class, the background and the ranking are perfect.
``oracle boxes``: p gets the g of the largest IoU of p itself and g and, if
    that is 0.5 or more, g replaces r(p, c) in every class c. Scores and the
    score threshold stay as in ``detector``. The proposals, classes and ranking
    are the detector's own; the box regression is perfect.
``oracle proposals``: the first stage is replaced: the boxes of all objects,
    and no other, go through the bbox head as proposals; from there on as in
    ``detector``. Its boxes, classes and ranking are the detector's own.

Crowds are no objects here; the evaluation ignores what is on them.
"""

from collections import Counter
from typing import Dict, List, NamedTuple, Optional, Tuple

import numpy as np
import torch
from mmdet.models.layers import multiclass_nms
from mmdet.structures.bbox import bbox_overlaps
from mmengine.config import ConfigDict
from pycocotools.cocoeval import COCOeval
from torch import Tensor

from ..columns import AP_NAMES
from ..detection import average_precisions, evaluate
from .groups import Row

DETECTOR = 'detector'
CLASSIFICATION = 'oracle classification'
BOXES = 'oracle boxes'
PROPOSALS = 'oracle proposals'
MIN_IOU = 0.5
WEIGHTED = 'AP by objects'
_SHOWN = ('AP', 'AP50', 'AP75')


class Refined(NamedTuple):
    """What a bbox head makes of an image's proposals, before any choice.

    All boxes are x1, y1, x2, y2 in pixels of the original image.

    Attributes:
        proposals (Tensor): (n, 4).
        bboxes (Tensor): (n, C, 4), refined for each class.
        scores (Tensor): (n, C + 1), the last of the background.
    """

    proposals: Tensor
    bboxes: Tensor
    scores: Tensor


def oracle_classification(
    refined: Refined, gt_bboxes: Tensor, gt_labels: Tensor
) -> Refined:
    """Score each proposal's refined box by the object that it is on.

    Args:
        refined (Refined): Of n proposals.
        gt_bboxes (Tensor): (k, 4) objects.
        gt_labels (Tensor): (k, ) their classes.

    Returns:
        Refined: With an IoU of 0.5 or more as the score of one class, and 0
        as all others.
    """
    scores = torch.zeros_like(refined.scores)
    if len(gt_bboxes) and len(scores):
        # Row by row, the boxes that the object's own class gives: (k, n, 4).
        boxes = refined.bboxes[:, gt_labels].transpose(0, 1)
        ious = bbox_overlaps(boxes, gt_bboxes[:, None])[..., 0]
        best, own = ious.max(dim=0)
        (hits,) = torch.where(best >= MIN_IOU)
        scores[hits, gt_labels[own[hits]]] = best[hits]
    return refined._replace(scores=scores)


def oracle_boxes(refined: Refined, gt_bboxes: Tensor) -> Refined:
    """Replace refined boxes by the box of the object the proposal is on.

    Args:
        refined (Refined): Of n proposals.
        gt_bboxes (Tensor): (k, 4) objects.
    """
    bboxes = refined.bboxes.clone()
    if len(gt_bboxes) and len(bboxes):
        ious = bbox_overlaps(refined.proposals, gt_bboxes)
        best, own = ious.max(dim=1)
        hits = best >= MIN_IOU
        bboxes[hits] = gt_bboxes[own[hits], None]
    return refined._replace(bboxes=bboxes)


def detect(
    refined: Refined, test_cfg: ConfigDict, score_thr: float
) -> Dict[str, np.ndarray]:
    """The detector's last step: a score threshold, then NMS.

    Args:
        refined (Refined): Of n proposals.
        test_cfg (ConfigDict): ``test_cfg.rcnn`` of the detector.
        score_thr (float): Scores must be above it.

    Returns:
        dict[str, np.ndarray]: ``bboxes`` (m, 4), ``scores`` and ``labels``
        (m, ).
    """
    if not len(refined.scores):
        return dict(
            bboxes=np.zeros((0, 4)), scores=np.zeros(0), labels=np.zeros(0)
        )
    found, labels = multiclass_nms(
        refined.bboxes.flatten(1),
        refined.scores,
        score_thr,
        test_cfg.nms,
        test_cfg.max_per_img,
    )
    return dict(
        bboxes=found[:, :4].cpu().numpy(),
        scores=found[:, 4].cpu().numpy(),
        labels=labels.cpu().numpy(),
    )


def detect_each_way(
    own: Refined,
    given: Refined,
    objects: Tuple[Tensor, Tensor],
    test_cfg: ConfigDict,
) -> Dict[str, Dict[str, np.ndarray]]:
    """Detections of an image in the four ways.

    Args:
        own (Refined): Of the detector's own proposals.
        given (Refined): Of the objects' boxes as proposals.
        objects (tuple[Tensor, Tensor]): Their boxes (k, 4) and labels (k, ).
        test_cfg (ConfigDict): ``test_cfg.rcnn`` of the detector.
    """
    threshold = test_cfg.score_thr
    ways = {
        DETECTOR: (own, threshold),
        CLASSIFICATION: (oracle_classification(own, *objects), 0.0),
        BOXES: (oracle_boxes(own, objects[0]), threshold),
        PROPOSALS: (given, threshold),
    }
    return {
        name: detect(refined, test_cfg, score_thr)
        for name, (refined, score_thr) in ways.items()
    }


def precision_row(
    ground_truth: dict,
    detections: List[dict],
    areas: Dict[str, Tuple[float, float]],
) -> Row:
    """APs of detections: of all, of each class and of each size.

    COCO's AP is the mean over classes; ``WEIGHTED`` gives each class the
    weight of its number of objects, as recall over all objects does.

    Args:
        ground_truth (dict): COCO annotations of the classes.
        detections (list[dict]): COCO results of boxes.
        areas (dict[str, tuple[float, float]]): Ranges of boxes' areas.
    """
    annotations = [
        dict(a, area=a['bbox'][2] * a['bbox'][3])  # not the mask's
        for a in ground_truth['annotations']
    ]
    truth = dict(ground_truth, annotations=annotations)
    coco_eval = evaluate(truth, detections, areas)
    values = dict(zip(AP_NAMES, average_precisions(coco_eval).tolist()))
    row: Row = {name: values[name] for name in _SHOWN}
    # (IoU thresholds, recalls, categories, areas), 100 detections an image.
    precision = coco_eval.eval['precision'][..., 0]
    if len(ground_truth['categories']) > 1:
        row.update(_by_class(precision[..., 0], coco_eval, ground_truth))
    for i, area in enumerate(coco_eval.params.areaRngLbl):
        if area in areas:
            row[area] = _mean(precision[..., i])
    return row


def _by_class(
    precision: np.ndarray, coco_eval: COCOeval, ground_truth: dict
) -> Row:
    ids = list(coco_eval.params.catIds)
    counts = Counter(
        annotation['category_id']
        for annotation in ground_truth['annotations']
        if not annotation.get('iscrowd')
    )
    row, total = {}, 0.0
    for category in ground_truth['categories']:
        own = _mean(precision[..., ids.index(category['id'])])
        row[category['name']] = own
        total += (own or 0.0) * counts[category['id']]
    return {WEIGHTED: total / sum(counts.values()), **row}


def _mean(precision: np.ndarray) -> Optional[float]:
    """Mean where there is an object; pycocotools marks 'none' by -1."""
    valid = precision[precision > -1]
    return float(valid.mean()) if valid.size else None
