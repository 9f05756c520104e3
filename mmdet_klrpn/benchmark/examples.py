"""Images of which one of two detectors finds more objects than the other."""

import base64
import gzip
import io
import json
from pathlib import Path
from typing import Dict, List, NamedTuple, Sequence, Tuple

import numpy as np
from mmdet.evaluation import bbox_overlaps
from PIL import Image, ImageDraw, ImageOps

from .results import Results
from .runs import DETECTIONS, GROUND_TRUTH, slug

IOU = 0.5
WIDTH = 250  # of a picture, in pixels
MOST = 24  # examples of a report
SIDE_MOST = 3  # of a comparison, where one of its detectors finds more
HIT, FALSE, MISSED = '#56b4e9', '#e66100', '#ffe14d'
TEXT = (
    'A detector finds an object if, of as many best detections as the image '
    f'has objects, one of its class overlaps it with an IoU of at least {IOU}.'
    ' Here are the images with the largest gaps between two detectors, each '
    'of its first seed: these show what happens, not how often. Blue: '
    'detections of an object; orange: other detections; yellow: objects '
    'that were not found.'
)


class Matched(NamedTuple):
    """An image's objects and best detections.

    Attributes:
        objects (np.ndarray): (n, 4) x1, y1, x2, y2 in pixels.
        found (np.ndarray): (n, ), bool, whether a detection is on it.
        hits (np.ndarray): (m, ), bool, whether a detection is on an object.
        boxes (np.ndarray): (m, 4), the n best detections, or fewer.
    """

    objects: np.ndarray
    found: np.ndarray
    hits: np.ndarray
    boxes: np.ndarray


class Example(NamedTuple):
    """Two detectors' pictures of an image, side by side in a JPEG."""

    name: str
    caption: str
    jpeg: bytes

    @property
    def uri(self) -> str:
        """The picture as an address that holds it."""
        return 'data:image/jpeg;base64,' + base64.b64encode(self.jpeg).decode()


def find_examples(results: Results) -> Tuple[List[Example], str]:
    """Draw the images of the largest gaps of each comparison.

    Args:
        results (Results): Of which the runs' folders are read.

    Returns:
        tuple[list[Example], str]: Those with a file, and a sentence on how
        many have none, empty if all have.
    """
    matches: Dict[str, Dict[int, Matched]] = {}
    examples: List[Example] = []
    gone = 0
    pairs = results.plan.compare[: MOST // 2]
    a_side = min(SIDE_MOST, MOST // (2 * max(len(pairs), 1)))
    for pair in pairs:
        runs = [results.runs.get(name) or [{}] for name in pair[:2]]
        folders = [Path(found[0].get('folder') or '') for found in runs]
        if not all((folder / DETECTIONS).is_file() for folder in folders):
            continue
        for name, folder in zip(pair[:2], folders):
            if name not in matches:
                matches[name] = match_run(folder)
        first, second = matches[pair.first], matches[pair.second]
        files = {
            i['id']: i['file_name'] for i in read_truth(folders[0])['images']
        }
        for image, win in largest_gaps(first, second, a_side):
            path = Path(runs[0][0]['img_prefix']) / files[image]
            sides = (first[image], second[image])
            try:
                jpeg = draw(path, sides)
            except OSError:  # it was moved, or is of a kind unknown to Pillow
                gone += 1
                continue
            counts = [side.found.sum() for side in sides]
            caption = (
                f'{pair[win]} finds {counts[win]} of '
                f'{len(sides[0].objects)} objects, {pair[1 - win]} '
                f'{counts[1 - win]}. Left: {pair.first}; right: '
                f'{pair.second}; {path.name}.'
            )
            name = f'{slug(pair.first)}_{slug(pair.second)}_{image}'
            examples.append(Example(name, caption, jpeg))
    missing = f'Left out as their files are gone: {gone} images.'
    return examples, missing if gone else ''


def largest_gaps(
    first: Dict[int, Matched], second: Dict[int, Matched], most: int
) -> List[Tuple[int, int]]:
    """Images where one finds more, the largest gaps of each side first.

    Args:
        first (dict[int, Matched]): By image, of one detector.
        second (dict[int, Matched]): Of another.
        most (int): Images a side.

    Returns:
        list[tuple[int, int]]: Image, and 1 where the second finds more, else
        0; the second's come first.
    """
    gaps = {
        image: int(second[image].found.sum() - first[image].found.sum())
        for image in first.keys() & second.keys()
    }
    chosen = []
    for win, sign in ((1, 1), (0, -1)):
        won = [image for image in gaps if sign * gaps[image] > 0]
        won.sort(key=lambda image: (-abs(gaps[image]), image))
        chosen += [(image, win) for image in won[:most]]
    return chosen


def read_truth(folder: Path) -> dict:
    """A run's ground truth."""
    return json.loads(gzip.decompress((folder / GROUND_TRUTH).read_bytes()))


def match_run(folder: Path) -> Dict[int, Matched]:
    """Match a run's best detections with the objects of each image.

    Args:
        folder (Path): Of the run, with ground truth and detections.

    Returns:
        dict[int, Matched]: By the image's id; crowds are no objects.
    """
    truth = read_truth(folder)
    labels = {c['id']: i for i, c in enumerate(truth['categories'])}
    by_image: Dict[int, List[dict]] = {}
    for annotation in truth['annotations']:
        if not annotation['iscrowd']:
            by_image.setdefault(annotation['image_id'], []).append(annotation)
    with np.load(folder / DETECTIONS) as file:
        found = {key: file[key] for key in file.files}
    order = np.lexsort((-found['scores'], found['image_ids']))
    found = {key: values[order] for key, values in found.items()}
    matches = {}
    for image, annotations in by_image.items():
        start, stop = (
            np.searchsorted(found['image_ids'], image, side)
            for side in ('left', 'right')
        )
        best = slice(start, min(stop, start + len(annotations)))
        objects = np.array([a['bbox'] for a in annotations], dtype=float)
        objects[:, 2:] += objects[:, :2]
        classes = np.array([labels[a['category_id']] for a in annotations])
        boxes = found['bboxes'][best]
        ious = bbox_overlaps(boxes, objects)
        ious[found['labels'][best][:, None] != classes] = 0
        matches[image] = Matched(objects, *_match(ious), boxes)
    return matches


def _match(ious: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """Give each detection, best first, the free object of highest IoU.

    Args:
        ious (np.ndarray): (m, n) of detections and objects.

    Returns:
        tuple[np.ndarray, np.ndarray]: (n, ) objects that were found, and
        (m, ) detections that found one.
    """
    found = np.zeros(ious.shape[1], dtype=bool)
    hits = np.zeros(ious.shape[0], dtype=bool)
    for i, row in enumerate(ious):
        best = np.where(found, 0, row).argmax()
        hits[i] = row[best] >= IOU and not found[best]
        found[best] |= hits[i]
    return found, hits


def draw(path: Path, sides: Sequence[Matched]) -> bytes:
    """Draw two detectors' matches on an image, as JPEG.

    Args:
        path (Path): Of the image.
        sides (Sequence[Matched]): Left and right.

    Raises:
        OSError: If it cannot be read.
    """
    with Image.open(path) as file:
        image = ImageOps.exif_transpose(file).convert('RGB')
    scale = WIDTH / image.width
    image = image.resize((WIDTH, max(round(image.height * scale), 1)))
    sheet = Image.new('RGB', (2 * WIDTH + 6, image.height), 'white')
    for place, side in enumerate(sides):
        panel = image.copy()
        pen = ImageDraw.Draw(panel)
        for boxes, colour in (
            (side.objects[~side.found], MISSED),
            (side.boxes[~side.hits], FALSE),
            (side.boxes[side.hits], HIT),
        ):
            for box in (boxes * scale).tolist():
                pen.rectangle(box, outline=colour, width=2)
        sheet.paste(panel, (place * (WIDTH + 6), 0))
    data = io.BytesIO()
    sheet.save(data, 'JPEG', quality=60)
    return data.getvalue()
