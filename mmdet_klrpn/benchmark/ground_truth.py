"""The objects of a test set, as far as average precision needs them."""

import json
from typing import List, Sequence

from mmengine.config import Config

from ..evaluation.functional.coco_matching import fill_annotation

_IMAGE = ('id', 'width', 'height', 'file_name')
_ANNOTATION = ('id', 'image_id', 'category_id', 'bbox', 'area', 'iscrowd')


def read_ground_truth(
    config: Config, classes: Sequence[str], split: str = 'test'
) -> dict:
    """Read the boxes of the images to measure on.

    Args:
        config (Config): Its evaluator names the annotation file.
        classes (Sequence[str]): Names of the data set's classes.
        split (str): 'test' or 'val', whose evaluator to read.

    Returns:
        dict: COCO annotations of all images and of these classes, without
        segmentations. Categories are in the order of the file, which is that
        of the labels in mmdet.

    Raises:
        ValueError: If the evaluator names no file, or it lacks a class.
    """
    path = annotation_file(config, split)
    with open(path) as file:
        data = json.load(file)
    categories = [c for c in data['categories'] if c['name'] in classes]
    names = {c['name'] for c in categories}
    missing = [name for name in classes if name not in names]
    if missing:
        raise ValueError(f'{path} has no category {missing}')
    known = {c['id'] for c in categories}
    return dict(
        images=[_only(image, _IMAGE) for image in data['images']],
        annotations=[
            _only(fill_annotation(annotation), _ANNOTATION)
            for annotation in data.get('annotations', [])
            if annotation['category_id'] in known
        ],
        categories=[_only(c, ('id', 'name')) for c in categories],
    )


def annotation_file(config: Config, split: str) -> str:
    """COCO annotations that a split's evaluator names.

    Raises:
        ValueError: If it names none.
    """
    metrics = _metrics(config[f'{split}_evaluator'])
    files = [m['ann_file'] for m in metrics if m.get('ann_file')]
    if not files:
        raise ValueError(
            f'{split}_evaluator names no ann_file of COCO annotations: use '
            'CocoMetric'
        )
    return files[0]


def _metrics(evaluator: object) -> List[dict]:
    """Configs of the metrics of an evaluator, whatever form it has."""
    if isinstance(evaluator, dict) and 'metrics' in evaluator:
        evaluator = evaluator['metrics']
    return [evaluator] if isinstance(evaluator, dict) else evaluator or []


def _only(record: dict, keys: Sequence[str]) -> dict:
    return {key: record[key] for key in keys if key in record}
