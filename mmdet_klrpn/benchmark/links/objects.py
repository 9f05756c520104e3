"""The objects of data sets, and the crowds among them."""

from typing import Sequence, Tuple

import numpy as np

from mmdet_klrpn.evaluation.split_items import Item

from .groups import Objects


class CocoObjects:
    """Objects of the test images, in the order of their annotations.

    Args:
        ground_truth (dict): COCO annotations of the classes, see
            :func:`read_ground_truth`.

    Attributes:
        ground_truth (dict): The same.
        classes (list[str]): Names of its categories.
        ids (list[int]): Annotations that are objects, no crowds, (k, ).
        objects (Objects): They.
    """

    def __init__(self, ground_truth: dict) -> None:
        self.ground_truth = ground_truth
        self.categories = [c['id'] for c in ground_truth['categories']]
        self.classes = [c['name'] for c in ground_truth['categories']]
        annotations = ground_truth['annotations']
        single = [a for a in annotations if not a.get('iscrowd')]
        self.ids = [a['id'] for a in single]
        self.objects = Objects(
            _corners(single),
            np.array(
                [self.categories.index(a['category_id']) for a in single],
                dtype=int,
            ),
        )
        images = [a['image_id'] for a in single]
        self._images = np.array(images, dtype=object)  # of any size
        self._crowds = [a for a in annotations if a.get('iscrowd')]

    def rows(self, image_id: int) -> np.ndarray:
        """Which objects are in an image."""
        (rows,) = np.nonzero(self._images == image_id)
        return rows

    def crowds(self, image_id: int) -> np.ndarray:
        """Crowds of an image, (m, 4)."""
        return _corners([a for a in self._crowds if a['image_id'] == image_id])


def _corners(annotations: Sequence[dict]) -> np.ndarray:
    boxes = np.array([a['bbox'] for a in annotations], dtype=float)
    boxes = boxes.reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return boxes


def objects_of(item: Item) -> Tuple[Objects, np.ndarray]:
    """Objects and crowds, (m, 4), of an image of a data set."""
    dataset, index = item
    instances = dataset.get_data_info(index)['instances']
    boxes = np.array([i['bbox'] for i in instances], dtype=float)
    labels = np.array([i['bbox_label'] for i in instances], dtype=int)
    crowd = np.array([i['ignore_flag'] for i in instances], dtype=bool)
    boxes = boxes.reshape(-1, 4)
    return Objects(boxes[~crowd], labels[~crowd]), boxes[crowd]
