"""Match with pycocotools, for any ids and optional fields."""

from typing import Dict, Iterable, List, Optional, Sequence, Tuple

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval


def fill_annotation(annotation: dict) -> dict:
    """Add fields that pycocotools reads and files may lack.

    Args:
        annotation (dict): A COCO annotation or result. It is not changed.

    Returns:
        dict: The same with ``iscrowd``, by default 0, and ``area`` in square
        pixels, by default that of the box.
    """
    area = annotation.get('area')
    if area is None:
        area = annotation['bbox'][2] * annotation['bbox'][3]
    crowd = int(annotation.get('iscrowd') or 0)
    return dict(annotation, area=area, iscrowd=crowd)


def index_annotations(annotations: List[dict], dataset: dict) -> COCO:
    """Index annotations by new ids 1, 2, and so on.

    pycocotools takes the id 0 for unmatched, and the last of several
    annotations with the same id for all.

    Args:
        annotations (list[dict]): Objects, or results. The annotation at
            position i gets the id i + 1; categories that are not in
            ``dataset`` are left out.
        dataset (dict): COCO annotations, whose images and categories count.
    """
    known = {category['id'] for category in dataset['categories']}
    coco = COCO()
    coco.dataset = dict(
        images=dataset.get('images', []),
        categories=dataset['categories'],
        annotations=[
            dict(fill_annotation(annotation), id=number)
            for number, annotation in enumerate(annotations, 1)
            if annotation['category_id'] in known
        ],
    )
    coco.createIndex()
    return coco


def match_coco_proposals(
    ground_truth: dict,
    predictions: List[dict],
    proposal_nums: Sequence[int],
    iou_thrs: Optional[Sequence[float]] = None,
    areas: Sequence[str] = ('all', 'small', 'medium', 'large'),
) -> COCOeval:
    """Match proposals with objects regardless of category.

    Args:
        ground_truth (dict): COCO annotations; the objects of its categories
            count.
        predictions (list[dict]): For each image ``img_id``, ``bboxes`` (n, 4)
            in pixels of the original image and ``scores`` (n, ).
        proposal_nums (Sequence[int]): The n of AR@n, ascending.
        iou_thrs (Sequence[float], optional): IoU thresholds. Defaults to 0.5
            to 0.95 in steps of 0.05.
        areas (Sequence[str]): pycocotools' ranges of object area to match in;
            fewer are faster. Defaults to all.

    Returns:
        COCOeval: Evaluated, with the matches of each image, but not yet
        accumulated. The id of an object is its position among the annotations
        of ``ground_truth``, plus 1.
    """
    categories = [c['id'] for c in ground_truth['categories']]
    coco_eval = COCOeval(
        index_annotations(ground_truth.get('annotations', []), ground_truth),
        # Not loadRes, which fails where there is no proposal at all.
        index_annotations(pack(predictions, categories, False), ground_truth),
        'bbox',
    )
    params = coco_eval.params
    params.useCats = 0
    params.imgIds = [prediction['img_id'] for prediction in predictions]
    params.maxDets = list(proposal_nums)
    if iou_thrs is not None:
        params.iouThrs = np.atleast_1d(iou_thrs)
    ranges: Dict[str, list] = dict(zip(params.areaRngLbl, params.areaRng))
    params.areaRng = [ranges[area] for area in areas]
    params.areaRngLbl = list(areas)
    coco_eval.evaluate()
    return coco_eval


def pack(
    predictions: Iterable[dict], category_ids: Sequence[int], labelled: bool
) -> List[dict]:
    """Convert predictions to COCO's results.

    Args:
        predictions (Iterable[dict]): For each image ``img_id``, ``bboxes``
            (n, 4) as x1, y1, x2, y2 in its pixels, ``scores`` (n, ) and, if
            ``labelled``, ``labels`` (n, ).
        category_ids (Sequence[int]): Category of each label.
        labelled (bool): Whether to tell classes apart; if not, all get the
            first category.
    """
    results = []
    for image in predictions:
        boxes = np.array(image['bboxes'], dtype=float)
        boxes[:, 2:] -= boxes[:, :2]
        labels = image['labels'] if labelled else [0] * len(boxes)
        results += [
            dict(
                image_id=image['img_id'],
                category_id=category_ids[label],
                bbox=box,
                score=float(score),
            )
            for box, score, label in zip(
                boxes.tolist(), image['scores'], labels
            )
        ]
    return results


def annotated_boxes(
    annotations: Sequence[dict],
) -> Tuple[np.ndarray, np.ndarray]:
    """Boxes of COCO annotations as corners.

    Args:
        annotations (Sequence[dict]): k annotations of an image.

    Returns:
        tuple[np.ndarray, np.ndarray]: (k, 4) x1, y1, x2, y2 in pixels, and
        (k, ), bool, whether each is a crowd.
    """
    boxes = np.array([ann['bbox'] for ann in annotations], dtype=float)
    boxes = boxes.reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    crowds = [bool(ann.get('iscrowd')) for ann in annotations]
    return boxes, np.array(crowds, dtype=bool)
