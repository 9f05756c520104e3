"""The objects of a test set, as far as average precision needs them."""

import json
from typing import Sequence

from mmengine.config import Config

from ..evaluation.functional.coco_matching import fill_annotation

_KEYS = dict(
    images=('id', 'width', 'height', 'file_name'),
    annotations=('id', 'image_id', 'category_id', 'bbox', 'area', 'iscrowd'),
    categories=('id', 'name'),
)


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
    missing = set(classes) - {c['name'] for c in categories}
    if missing:
        raise ValueError(f'{path} has no category {sorted(missing)}')
    known = {c['id'] for c in categories}
    found = dict(categories=categories, images=data['images'])
    found['annotations'] = [
        fill_annotation(annotation)
        for annotation in data.get('annotations', [])
        if annotation['category_id'] in known
    ]
    return {
        part: [{k: x[k] for k in keys if k in x} for x in found[part]]
        for part, keys in _KEYS.items()
    }


def annotation_file(config: Config, split: str) -> str:
    """COCO annotations that a split's evaluator, of any form, names.

    Raises:
        ValueError: If it names none.
    """
    metrics = config[f'{split}_evaluator']
    if isinstance(metrics, dict):
        metrics = metrics.get('metrics', metrics)
    metrics = [metrics] if isinstance(metrics, dict) else metrics or []
    files = [m['ann_file'] for m in metrics if m.get('ann_file')]
    if not files:
        raise ValueError(
            f'{split}_evaluator names no ann_file of COCO annotations: use '
            'CocoMetric'
        )
    return files[0]
