"""The objects of a test set, as far as average precision needs them."""

import json
from typing import Sequence, Tuple

from mmengine.config import Config

_IMAGE = ('id', 'width', 'height', 'file_name')
_ANNOTATION = ('id', 'image_id', 'category_id', 'bbox', 'area', 'iscrowd')


def read_ground_truth(
    config: Config, classes: Sequence[str]
) -> Tuple[dict, str]:
    """Read a test set's boxes.

    Args:
        config (Config): Its ``test_evaluator`` names the annotation file.
        classes (Sequence[str]): Names of the labels, in their order.

    Returns:
        tuple[dict, str]: COCO annotations of all images and of these classes,
        without segmentations, and the path of the file.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the evaluator names none, or it lacks a class.
    """
    evaluators = config.test_evaluator
    if isinstance(evaluators, dict):
        evaluators = [evaluators]
    files = [e['ann_file'] for e in evaluators if e.get('ann_file')]
    if not files:
        raise ValueError(
            'test_evaluator names no ann_file: a benchmark measures by COCO '
            'annotations, as with type="CocoMetric"'
        )
    with open(files[0]) as file:
        data = json.load(file)
    ids = {c['name']: c['id'] for c in data['categories']}
    missing = [name for name in classes if name not in ids]
    if missing:
        raise ValueError(f'{files[0]} has no category {missing}')
    known = {ids[name] for name in classes}
    truth = dict(
        images=[_only(image, _IMAGE) for image in data['images']],
        annotations=[
            _only(annotation, _ANNOTATION)
            for annotation in data['annotations']
            if annotation['category_id'] in known
        ],
        categories=[dict(id=ids[name], name=name) for name in classes],
    )
    return truth, files[0]


def _only(record: dict, keys: Sequence[str]) -> dict:
    return {key: record[key] for key in keys if key in record}
