"""Recall of the proposals alone."""

from typing import Dict, List, NamedTuple

import numpy as np
from pycocotools.cocoeval import COCOeval

from ..evaluation.functional import match_coco_proposals
from .columns import AREAS, RECALL_NUMBERS

NOT_FOUND = np.iinfo(np.int32).max


class Recalls(NamedTuple):
    """What proposals recall, image by image.

    Attributes:
        found (np.ndarray): (I, A, N, T) objects recalled in each image, of
            each of ``AREAS``, by so many proposals as ``RECALL_NUMBERS``
            says, at IoU 0.5 to 0.95.
        objects (np.ndarray): (I, A) how many there are.
    """

    found: np.ndarray
    objects: np.ndarray

    def of(self, weights: np.ndarray) -> np.ndarray:
        """Recall if each image counted so many times.

        Args:
            weights (np.ndarray): (R, I), rows of how often each image counts.

        Returns:
            np.ndarray: (R, A, N, T), NaN where there is no object.
        """
        found = np.tensordot(weights, self.found, axes=1)
        objects = np.tensordot(weights, self.objects, axes=1)
        with np.errstate(invalid='ignore'):
            return found / objects[:, :, None, None]

    def recall(self) -> np.ndarray:
        """Recall over all images, (A, N, T)."""
        return self.of(np.ones((1, len(self.objects))))[0]


class ObjectRanks(NamedTuple):
    """Which proposal found each object.

    Attributes:
        ranks (np.ndarray): (K, T) rank among its image's proposals by score,
            from 0, of the one that was matched with it at IoU 0.5 to 0.95;
            ``NOT_FOUND`` where none was.
        sizes (np.ndarray): (K, ) square root of its area in pixels.
        classes (np.ndarray): (K, ) name of its class.
        ids (np.ndarray): (K, ) id of its annotation.
    """

    ranks: np.ndarray
    sizes: np.ndarray
    classes: np.ndarray
    ids: np.ndarray


def rank_objects(
    ground_truth: dict, predictions: List[dict], number: int
) -> ObjectRanks:
    """Match proposals with objects as ``ProposalMetric`` does.

    The n best proposals have found what is of a rank below n, whatever n.

    Args:
        ground_truth (dict): As :func:`evaluate_proposals` takes it.
        predictions (list[dict]): Likewise.
        number (int): How many proposals of each image to match.
    """
    coco_eval = match_coco_proposals(
        ground_truth, predictions, [number], areas=('all',)
    )
    names = {c['id']: c['name'] for c in ground_truth['categories']}
    ranks, sizes, classes, ids = [], [], [], []
    for match in filter(None, coco_eval.evalImgs):
        rank_of = {proposal: i for i, proposal in enumerate(match['dtIds'])}
        for i in np.flatnonzero(match['gtIgnore'] == 0):
            ranks.append(
                [rank_of.get(x, NOT_FOUND) for x in match['gtMatches'][:, i]]
            )
            annotation = ground_truth['annotations'][match['gtIds'][i] - 1]
            sizes.append(np.sqrt(np.prod(annotation['bbox'][2:])))
            classes.append(names[annotation['category_id']])
            ids.append(annotation['id'])
    return ObjectRanks(
        *map(np.array, (ranks, sizes, classes)),
        np.array(ids, dtype=object),  # integers of any size
    )


def evaluate_proposals(ground_truth: dict, predictions: List[dict]) -> Recalls:
    """Match proposals with objects as ``ProposalMetric`` does.

    Args:
        ground_truth (dict): COCO annotations; every category in it counts.
        predictions (list[dict]): Of each image ``img_id``, ``bboxes`` (n, 4)
            in pixels of the original image and ``scores`` (n, ), descending.
    """
    return _count(
        match_coco_proposals(ground_truth, predictions, RECALL_NUMBERS)
    )


def _count(coco_eval: COCOeval) -> Recalls:
    """Count matches by image."""
    params = coco_eval.params
    images, areas = len(params.imgIds), len(params.areaRng)
    shape = images, areas, len(RECALL_NUMBERS), len(params.iouThrs)
    found = np.zeros(shape, dtype=np.int32)
    objects = np.zeros(shape[:2], dtype=np.int32)
    for position, match in enumerate(coco_eval.evalImgs):
        if match is None:
            continue
        area, image = divmod(position, images)
        objects[image, area] = np.sum(match['gtIgnore'] == 0)
        hits = (match['dtMatches'] != 0) & ~match['dtIgnore'].astype(bool)
        for i, number in enumerate(RECALL_NUMBERS):
            found[image, area, i] = hits[:, :number].sum(axis=1)
    return Recalls(found, objects)


def recall_table(recalls: Recalls) -> Dict[str, Dict[str, List[float]]]:
    """Recall by area, then number of proposals, at each IoU threshold."""
    recall = recalls.recall()
    return {
        area: {
            str(number): recall[i, j].tolist()
            for j, number in enumerate(RECALL_NUMBERS)
        }
        for i, area in enumerate(AREAS)
    }
