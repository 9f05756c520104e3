"""Average precision of detections, by pycocotools, also of resamples."""

import contextlib
import io
from typing import Dict, List, Optional, Tuple

import numpy as np
from pycocotools.cocoeval import COCOeval

from ..evaluation.functional.coco_matching import index_annotations
from .columns import AP_NAMES

# As CocoMetric counts: AP at 100 detections an image, all else at 1000.
MAX_DETECTIONS = (100, 1000)


def pack_detections(
    image_id: int, instances: Dict[str, np.ndarray], category_ids: List[int]
) -> List[dict]:
    """An image's detections in the format of COCO results.

    Args:
        image_id (int): Its id in the annotations.
        instances (dict[str, np.ndarray]): ``bboxes`` (n, 4) as x1, y1, x2,
            y2 in pixels of the original image, ``scores`` (n, ), ``labels``
            (n, ).
        category_ids (list[int]): Category of each label.
    """
    boxes = instances['bboxes'].tolist()
    return [
        dict(
            image_id=image_id,
            category_id=category_ids[label],
            bbox=[x1, y1, x2 - x1, y2 - y1],
            score=score,
        )
        for (x1, y1, x2, y2), score, label in zip(
            boxes, instances['scores'].tolist(), instances['labels'].tolist()
        )
    ]


def evaluate(
    ground_truth: dict,
    detections: List[dict],
    areas: Optional[Dict[str, Tuple[float, float]]] = None,
) -> COCOeval:
    """Match detections with objects.

    Args:
        ground_truth (dict): COCO annotations; every image and category in it
            counts.
        detections (list[dict]): COCO results of boxes.
        areas (dict[str, tuple[float, float]], optional): More ranges of
            objects' areas, in square pixels, by label.

    Returns:
        COCOeval: Evaluated and accumulated.
    """
    with contextlib.redirect_stdout(io.StringIO()):
        # Not loadRes, which fails where nothing is detected at all.
        coco_eval = COCOeval(
            index_annotations(ground_truth['annotations'], ground_truth),
            index_annotations(detections, ground_truth),
            'bbox',
        )
        coco_eval.params.maxDets = list(MAX_DETECTIONS)
        for label, limits in (areas or {}).items():
            coco_eval.params.areaRngLbl.append(label)
            coco_eval.params.areaRng.append(list(limits))
        coco_eval.evaluate()
        coco_eval.accumulate()
    return coco_eval


def average_precisions(coco_eval: COCOeval) -> np.ndarray:
    """Each AP of ``AP_NAMES`` in [0, 1]; NaN where there is no object."""
    params = coco_eval.params
    # (IoU thresholds, recalls, categories, areas, numbers of detections)
    precision = coco_eval.eval['precision']

    def mean(iou: slice, area: str, number: int) -> float:
        part = precision[iou, :, :, params.areaRngLbl.index(area), number]
        valid = part[part > -1]
        return valid.mean() if valid.size else np.nan

    at_50, at_75 = (_threshold(coco_eval, iou) for iou in (0.5, 0.75))
    every = slice(None)
    values = dict(
        AP=mean(every, 'all', 0),
        AP50=mean(slice(at_50, at_50 + 1), 'all', -1),
        AP75=mean(slice(at_75, at_75 + 1), 'all', -1),
        AP_S=mean(every, 'small', -1),
        AP_M=mean(every, 'medium', -1),
        AP_L=mean(every, 'large', -1),
    )
    return np.array([values[name] for name in AP_NAMES])


def _threshold(coco_eval: COCOeval, iou: float) -> int:
    """Position of an IoU threshold."""
    return int(np.argmin(np.abs(coco_eval.params.iouThrs - iou)))


def precision_curve(coco_eval: COCOeval, iou: float) -> np.ndarray:
    """Precision at recalls 0, 0.01, ..., 1, a mean over categories, (101, ).

    NaN where there is no object.
    """
    at = _threshold(coco_eval, iou)
    precision = coco_eval.eval['precision'][at, :, :, 0, -1]
    valid = precision[:, precision[0] > -1]
    return valid.mean(axis=1) if valid.size else np.full(len(valid), np.nan)


def resampled_precisions(
    coco_eval: COCOeval, samples: np.ndarray
) -> np.ndarray:
    """The APs had other images been drawn.

    The matches of each image stay; pycocotools accumulates those of the
    images drawn, an image drawn twice counting twice.

    Args:
        coco_eval (COCOeval): From :func:`evaluate`; it is left as it was.
        samples (np.ndarray): (R, I) positions of images, R resamples of as
            many images as there are.

    Returns:
        np.ndarray: (R, 6), the APs of ``AP_NAMES``.
    """
    params, matches = coco_eval.params, coco_eval.evalImgs
    shape = (-1, len(params.areaRng), len(params.imgIds))
    grid = np.empty(len(matches), dtype=object)
    grid[:] = matches
    grid = grid.reshape(shape)
    before = coco_eval.eval, params.maxDets
    longest = max((len(m['dtIds']) for m in matches if m), default=0)
    if longest <= MAX_DETECTIONS[0]:  # both numbers give the same
        params.maxDets = [MAX_DETECTIONS[0]]
    results = []
    with contextlib.redirect_stdout(io.StringIO()):
        for sample in samples:
            coco_eval.evalImgs = grid[:, :, sample].ravel().tolist()
            coco_eval.accumulate()
            results.append(average_precisions(coco_eval))
    coco_eval.evalImgs = matches
    coco_eval.eval, params.maxDets = before
    return np.reshape(results, (-1, len(AP_NAMES)))
