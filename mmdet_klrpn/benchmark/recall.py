"""Recall of the proposals alone."""

from typing import Dict, List, NamedTuple, Tuple

import numpy as np

from ..evaluation.functional import match_coco_proposals
from .columns import AR_NAMES, AREAS, IOUS, RECALL_NUMBERS
from .detection import false_positives, pool

# Images matched at a time, since pycocotools needs a kilobyte a proposal.
_CHUNK = 500


class Recalls(NamedTuple):
    """What proposals recall, image by image, of each of ``AREAS``.

    N are ``RECALL_NUMBERS`` of proposals, and T the IoUs 0.5 to 0.95. False
    positives, at ``EQUAL_RECALLS``, are those of the largest number.
    """

    found: np.ndarray  # (I, A, N, T) objects recalled
    objects: np.ndarray  # (I, A) how many there are
    false_positives: np.ndarray  # (9, ) an image

    def of(self, weights: np.ndarray) -> np.ndarray:
        """Recall, (R, A, N, T), if images counted so many times, (R, I).

        It is NaN where there is no object.
        """
        weights = np.asarray(weights, dtype=float)  # for the BLAS
        found = np.tensordot(weights, self.found, axes=1)
        objects = np.tensordot(weights, self.objects, axes=1)
        with np.errstate(invalid='ignore'):
            return found / objects[:, :, None, None]


def name_recalls(recall: np.ndarray) -> Dict[Tuple[str, str], np.ndarray]:
    """Recalls of (..., A, N, T) by ``metric`` and ``at``, each (...)."""
    named = {}
    for j, number in enumerate(RECALL_NUMBERS):
        for i, name in enumerate(AR_NAMES):
            named[name, f'@{number}'] = recall[..., i, j, :].mean(axis=-1)
        if number in (100, 1000):
            for k, iou in enumerate(IOUS):
                named[f'recall{number}', iou] = recall[..., 0, j, k]
    return named


def evaluate_proposals(ground_truth: dict, predictions: List[dict]) -> Recalls:
    """Match proposals with objects as ``ProposalMetric`` does.

    Args:
        ground_truth (dict): COCO annotations; every category in it counts.
        predictions (list[dict]): Of each image ``img_id``, ``bboxes`` (n, 4)
            in pixels of the original image and ``scores`` (n, ), descending.

    Returns:
        Recalls: Images are in the order of their ids.
    """
    predictions = sorted(predictions, key=lambda image: image['img_id'])
    shape = len(predictions), len(AREAS), len(RECALL_NUMBERS), len(IOUS)
    found = np.zeros(shape, dtype=np.int32)
    objects = np.zeros(shape[:2], dtype=np.int32)
    pooled = []
    for start in range(0, len(predictions), _CHUNK):
        chunk = predictions[start : start + _CHUNK]
        matches = match_coco_proposals(ground_truth, chunk, RECALL_NUMBERS)
        matches = matches.evalImgs  # of the first area, then the next
        pooled.append(pool(matches[: len(chunk)]))
        for position, match in enumerate(matches):
            if match is not None:
                area, image = divmod(position, len(chunk))
                objects[start + image, area] = np.sum(match['gtIgnore'] == 0)
                hits = (match['dtMatches'] != 0) & (match['dtIgnore'] == 0)
                for i, number in enumerate(RECALL_NUMBERS):
                    own = hits[:, :number].sum(axis=1)
                    found[start + image, area, i] = own
    scores, hits = map(np.concatenate, zip(*pooled))
    total = int(objects[:, 0].sum())
    errors = false_positives(scores, hits, total, len(predictions))
    return Recalls(found, objects, errors)
