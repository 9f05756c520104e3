"""AP and AR had other test images been drawn, by how often each counts."""

from pathlib import Path
from typing import Dict, NamedTuple, Sequence, Tuple, Union

import numpy as np
from pycocotools.cocoeval import COCOeval
from scipy import sparse

from .columns import AREAS
from .detection import by_area
from .recall import Recalls, name_recalls

Name = Tuple[str, str]  # ``metric`` and ``at`` of columns.py
IGNORED, MISSED, HIT = range(3)
# Area, number of detections an image and IoU thresholds of each AP. As
# CocoMetric counts: AP at 100 detections, all else at 1000.
_IOUS = tuple(range(10))
_PARTS = dict(
    AP=('all', 100, _IOUS),
    AP50=('all', 1000, _IOUS[:1]),
    AP75=('all', 1000, _IOUS[5:6]),
    AP_S=('small', 1000, _IOUS),
    AP_M=('medium', 1000, _IOUS),
    AP_L=('large', 1000, _IOUS),
)
# Recalls at which pycocotools reads the precision.
_RECALLS = np.linspace(0, 1, 101)
# Resamples at a time: the weights of all images stay in the CPU's cache.
_BLOCK = 100


class Matches(NamedTuple):
    """Detections of a test set, and what each counts as.

    They are in the order of categories, then of descending score. A column C
    is an AP at one of its IoU thresholds.
    """

    images: np.ndarray  # (D, ) position of the image of each detection
    starts: np.ndarray  # (K + 1, ) where those of each category start, and D
    states: np.ndarray  # (C, D) ``IGNORED``, ``MISSED`` or ``HIT``
    names: np.ndarray  # (C, ) the APs, of ``AP_NAMES``
    objects: np.ndarray  # (A, K, I) number of objects of each area
    classes: np.ndarray  # (K, ) names of the categories


def collect_matches(
    coco_eval: COCOeval, classes: Sequence[str], names: Sequence[str]
) -> Matches:
    """Keep what the bootstrap needs of an evaluation, by ``evaluate``.

    Classes are the names of its ``catIds``, and names those of ``AP_NAMES``.
    """
    labels = coco_eval.params.areaRngLbl
    grid = np.stack([by_area(coco_eval, label) for label in labels], axis=1)
    objects = np.array(
        [0 if m is None else np.sum(m['gtIgnore'] == 0) for m in grid.ravel()],
        dtype=np.uint16,
    ).reshape(grid.shape)
    images, states = [], []
    for areas in grid:
        counts = [0 if m is None else len(m['dtIds']) for m in areas[0]]
        ranks = np.concatenate([np.arange(count) for count in counts])
        scores = [m['dtScores'] for m in areas[0] if m is not None]
        # pycocotools sorts stably, images in the order of their ids.
        order = np.argsort(-np.concatenate([[], *scores]), kind='stable')
        columns = []
        for name in names:
            area, number, ious = _PARTS[name]
            own = [m for m in areas[labels.index(area)] if m is not None]
            nothing = np.zeros((len(_IOUS), 0))
            matched, ignored = (
                np.concatenate([nothing, *(m[key] for m in own)], axis=1)
                for key in ('dtMatches', 'dtIgnore')
            )
            found = np.where(matched > 0, HIT, MISSED)
            ignored = (ignored > 0) | (ranks >= number)
            columns.append(np.where(ignored, IGNORED, found)[list(ious)])
        images.append(np.repeat(np.arange(len(counts)), counts)[order])
        states.append(np.concatenate(columns)[:, order])
    return Matches(
        np.concatenate(images).astype(np.int32),
        np.cumsum([0, *map(len, images)]),
        np.concatenate(states, axis=1).astype(np.int8),
        np.repeat(names, [len(_PARTS[name][2]) for name in names]),
        objects.transpose(1, 0, 2),
        np.array(classes, dtype=str),
    )


def draw_weights(num_images: int, resamples: int) -> np.ndarray:
    """How often each image is in each resample, (R, I).

    Seeded, and so the same for both detectors and all of their seeds.
    """
    generator = np.random.default_rng(0)
    chances = np.full(num_images, 1 / num_images)
    return generator.multinomial(num_images, chances, size=resamples)


def weighted_precisions(matches: Matches, weights: np.ndarray) -> np.ndarray:
    """Average precision if each image counted so many times.

    It is exactly pycocotools' of a data set that repeats images. Precision
    and recall matter at hits alone, and of an image that counts w times the
    last of its w hits: the envelope of precision is no lower before it.
    (Detections of one image with the same score keep their order.)

    Args:
        matches (Matches): Of all images.
        weights (np.ndarray): (R, I), rows of how often each image counts.

    Returns:
        np.ndarray: (R, C, K), NaN where there is no object.
    """
    shape = len(weights), len(matches.names), len(matches.starts) - 1
    result = np.full(shape, np.nan)
    areas = [AREAS.index(_PARTS[name][0]) for name in matches.names]
    for block in range(0, len(weights), _BLOCK):
        rows = slice(block, block + _BLOCK)
        # Float32 holds every count of detections exactly.
        by_image = np.ascontiguousarray(weights[rows].T, dtype=np.float32)
        objects = matches.objects @ by_image
        for k, start in enumerate(matches.starts[:-1]):
            own = slice(start, matches.starts[k + 1])
            images = matches.images[own]
            for c, area in enumerate(areas):
                result[rows, c, k] = _average_precision(
                    images, matches.states[c, own], by_image, objects[area, k]
                )
    return result


def _average_precision(
    images: np.ndarray,
    states: np.ndarray,
    by_image: np.ndarray,
    objects: np.ndarray,
) -> np.ndarray:
    """AP of one category and column, (R, ), of weights (I, R)."""
    counted = states != IGNORED
    images, states = images[counted], states[counted]
    hits = np.flatnonzero(states == HIT)
    if not len(hits):
        return np.where(objects, 0, np.nan)
    # Row p adds the detections after hit p - 1, up to hit p.
    ends = np.concatenate([[0], hits + 1])
    rows = sparse.csr_matrix(
        (np.ones(ends[-1], np.float32), images[: ends[-1]], ends),
        shape=(len(hits), len(by_image)),
    )
    total = np.cumsum(rows @ by_image, axis=0, dtype=float)
    found = np.cumsum(by_image[images[hits]], axis=0, dtype=float)
    precision = found / (total + np.spacing(1))
    envelope = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
    recall = found / np.maximum(objects, 1)
    # A recall has passed all thresholds below the nearest, and that too if
    # it is not less.
    nearest = np.rint(100 * recall).astype(int)
    passed = nearest + (recall >= _RECALLS[nearest])
    gained = np.diff(passed, axis=0, prepend=0)
    precision = np.einsum('pr,pr->r', envelope, gained) / len(_RECALLS)
    return np.where(objects, precision, np.nan)


def save_matches(
    path: Path, matches: Dict[str, Matches], recalls: Recalls
) -> None:
    """Write what :func:`resample` reads, matches by ``at``."""
    np.savez_compressed(
        path,
        **{
            f'{at} {key}': array
            for at, own in {**matches, 'recalls': recalls}.items()
            for key, array in own._asdict().items()
        },
    )


def resample(path: Path, resamples: int) -> Dict[Name, np.ndarray]:
    """AP and AR of a run had R other sets of test images been drawn, (R, )."""
    arrays: Dict[str, Dict[str, np.ndarray]] = {}
    with np.load(path) as file:
        for name in file.files:
            at, key = name.split(' ')
            arrays.setdefault(at, {})[key] = file[name]
    recalls = Recalls(**arrays.pop('recalls'))
    matches = {at: Matches(**own) for at, own in arrays.items()}
    weights = draw_weights(len(recalls.objects), resamples)
    return name_values(matches, recalls, weights)


def name_values(
    matches: Dict[str, Matches], recalls: Recalls, weights: np.ndarray
) -> Dict[Name, np.ndarray]:
    """AP and AR by ``metric`` and ``at``, (R, ) each, of weights (R, I)."""
    named = name_recalls(recalls.of(weights))
    for at, own in matches.items():
        values = weighted_precisions(own, weights)
        for name in np.unique(own.names):
            by_name = values[:, own.names == name]
            named[str(name), at] = _mean(by_name, (1, 2))
            if name == 'AP' and not at:
                by_class = zip(own.classes, _mean(by_name, 1).T)
                named.update((('class AP', str(k)), v) for k, v in by_class)
    return named


def _mean(values: np.ndarray, axis: Union[int, Tuple[int, ...]]) -> np.ndarray:
    """Mean of what is not NaN; NaN, and no warning, of nothing."""
    count = np.sum(~np.isnan(values), axis=axis)
    total = np.nansum(values, axis=axis)
    return np.where(count, total / np.maximum(count, 1), np.nan)
