"""Detections matched with objects by pycocotools, and their errors."""

import contextlib
import io
from typing import Dict, Iterable, List, Optional, Tuple

import numpy as np
from pycocotools.cocoeval import COCOeval

from ..evaluation.functional.coco_matching import index_annotations
from .columns import EQUAL_RECALLS


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
        areas (dict[str, tuple[float, float]], optional): Ranges of objects'
            areas, in square pixels, by label, besides 'all'; each takes its
            time. Defaults to COCO's three.

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
        params = coco_eval.params
        # As CocoMetric: AP at 100 detections an image, all else at 1000.
        params.maxDets = [100, 1000]
        if areas is not None:
            params.areaRngLbl = ['all', *areas]
            params.areaRng = [params.areaRng[0], *map(list, areas.values())]
        coco_eval.evaluate()
        coco_eval.accumulate()
    return coco_eval


def by_area(coco_eval: COCOeval, area: str) -> np.ndarray:
    """Matches of one range of areas, (K, I), by category and image."""
    params = coco_eval.params
    grid = np.empty(len(coco_eval.evalImgs), dtype=object)
    grid[:] = coco_eval.evalImgs
    shape = len(params.catIds), len(params.areaRng), len(params.imgIds)
    return grid.reshape(shape)[:, params.areaRngLbl.index(area)]


def precision_curve(coco_eval: COCOeval, iou: int) -> np.ndarray:
    """Precision at recalls 0, 0.01, ..., 1, a mean over categories, (101, ).

    It is that at the IoU threshold of a position.
    """
    precision = coco_eval.eval['precision'][iou, :, :, 0, -1]
    valid = precision[:, precision[0] > -1]
    return valid.mean(axis=1) if valid.size else np.full(len(valid), np.nan)


def pool(matches: Iterable[Optional[dict]]) -> Tuple[np.ndarray, np.ndarray]:
    """Scores of predictions, (D, ), and whether each is a hit at IoU 0.5.

    Matches are ``evalImgs`` of one area; what they ignore is left out.
    """
    scores, hits = [np.zeros(0)], [np.zeros(0, dtype=bool)]
    for match in filter(None, matches):
        counted = ~match['dtIgnore'][0].astype(bool)
        scores.append(np.array(match['dtScores'], dtype=float)[counted])
        hits.append(match['dtMatches'][0, counted] > 0)
    return np.concatenate(scores), np.concatenate(hits)


def false_positives(
    scores: np.ndarray, hits: np.ndarray, objects: int, images: int
) -> np.ndarray:
    """False positives an image at each of ``EQUAL_RECALLS``, (9, ).

    The predictions of all images and classes are sorted by score. The best
    are taken, as few as find that share of all objects. Those among them that
    match no object, of their own class if they have one, at IoU 0.5 are
    counted. NaN where even all predictions find fewer objects.
    """
    found = np.cumsum(hits[np.argsort(-scores, kind='stable')])
    # Subtract what a product may be too large by, or 0.3 of 10 were 4.
    needed = np.ceil(np.array(EQUAL_RECALLS, float) * objects - 1e-6)
    last = np.searchsorted(found, np.maximum(needed, 1))
    return (
        np.append(np.arange(1, len(found) + 1) - found, np.nan)[last] / images
    )
