"""Images of which one of two detectors finds more objects than the other."""

import gzip
import io
import json
from base64 import b64encode
from pathlib import Path
from typing import Dict, List, NamedTuple, Sequence, Tuple

import numpy as np
from mmdet.evaluation import bbox_overlaps
from PIL import Image, ImageDraw, ImageOps

from .plan import slug
from .results import Results
from .runs import DETECTIONS, GROUND_TRUTH

IOU = 0.5
WIDTH = 220  # of a picture, in pixels
BYTES = 12_000  # of an example
MOST = 18  # examples of a report
A_SIDE = 3  # of a comparison, where one of its detectors finds more
HIT, FALSE, MISSED = '#56b4e9', '#e66100', '#ffe14d'


class Matched(NamedTuple):
    """An image's n objects and m <= n best detections."""

    objects: np.ndarray  # (n, 4) x1, y1, x2, y2 in pixels
    boxes: np.ndarray  # (m, 4) likewise
    found: np.ndarray  # (n, ), bool, whether a detection is on it
    hits: np.ndarray  # (m, ), bool, whether it is on an object
    stds: np.ndarray  # (m, 4) of the boxes' edges; 0 of a head without stds


class Example(NamedTuple):
    """Two detectors' pictures of an image, side by side in a JPEG."""

    name: str
    caption: str
    jpeg: bytes

    def write(self, folder: Path) -> List[Path]:
        """Write it into a folder that exists."""
        path = folder / f'{self.name}.jpg'
        path.write_bytes(self.jpeg)
        return [path]

    @property
    def uri(self) -> str:
        """The picture as an address that holds it."""
        return f'data:image/jpeg;base64,{b64encode(self.jpeg).decode()}'


def find_examples(results: Results) -> Tuple[List[Example], str]:
    """Draw the images of the largest gaps of each comparison.

    Returns:
        tuple[list[Example], str]: Those with a file, and a sentence on how
        many have none, empty if all have.
    """
    firsts = {name: runs[0] for name, runs in results.runs.items() if runs}
    matched = {
        name: match(Path(run['folder']))
        for name, run in firsts.items()
        if Path(run['folder'], DETECTIONS).is_file()
    }
    pairs = [p for p in results.plan.pairs if matched.keys() >= {*p}]
    pairs = pairs[: MOST // 2]
    examples, gone = [], 0
    for first, second in pairs:
        sides = [matched[first], matched[second]]
        most = min(A_SIDE, MOST // (2 * len(pairs)))
        for file, win in largest_gaps(*sides, most):
            path = Path(firsts[first].get('img_prefix') or '', file)
            shown = [side[file] for side in sides]
            try:
                picture = draw(path, shown)
            except OSError:  # moved, or of a kind that Pillow cannot read
                gone += 1
                continue
            left, right = (side.found.sum() for side in shown)
            caption = (
                f'{second if win else first} finds more of '
                f'{len(shown[0].objects)} objects. Left: {first}, {left}; '
                f'right: {second}, {right}. {path.name}'
            )
            name = f'{slug(first)}_{slug(second)}_{slug(file)}'
            examples.append(Example(name, caption, picture))
    text = f'Left out, as their files cannot be read: {gone} images.'
    return examples, text if gone else ''


def largest_gaps(
    first: Dict[str, Matched], second: Dict[str, Matched], most: int
) -> List[Tuple[str, bool]]:
    """Up to ``most`` images where the second finds more, and the first."""
    gaps = {
        file: int(second[file].found.sum() - first[file].found.sum())
        for file in first.keys() & second.keys()
    }
    files = sorted(gaps, key=lambda file: (-abs(gaps[file]), file))
    more = [(file, True) for file in files if gaps[file] > 0]
    fewer = [(file, False) for file in files if gaps[file] < 0]
    return more[:most] + fewer[:most]


def match(folder: Path) -> Dict[str, Matched]:
    """Match a run's best detections with the objects of each image file."""
    truth = json.loads(gzip.decompress((folder / GROUND_TRUTH).read_bytes()))
    labels = {c['id']: i for i, c in enumerate(truth['categories'])}
    objects: Dict[int, List[list]] = {i['id']: [] for i in truth['images']}
    for annotation in truth['annotations']:
        if not annotation.get('iscrowd'):
            x, y, width, height = annotation['bbox']
            label = labels[annotation['category_id']]
            box = [x, y, x + width, y + height, label]
            objects[annotation['image_id']].append(box)
    with np.load(folder / DETECTIONS) as file:
        order = np.lexsort((-file['scores'], file['images']))
        places = file['images'][order]
        stds = file.get('bbox_stds', np.zeros_like(file['bboxes']))
        found = np.column_stack([file['bboxes'], file['labels'], stds])[order]
    matched = {}
    for i, image in enumerate(truth['images']):
        own = np.array(objects[image['id']], dtype=float).reshape(-1, 5)
        best = found[places == i][: len(own)]
        ious = bbox_overlaps(best[:, :4], own[:, :4])
        ious[best[:, 4:5] != own[:, 4]] = 0
        boxes = own[:, :4], best[:, :4]
        hits = assign(ious)
        matched[image['file_name']] = Matched(*boxes, *hits, best[:, 5:])
    return matched


def assign(ious: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """Which objects, (n, ), and detections, (m, ), match by their IoU, (m, n).

    Each detection, best first, takes the free object of highest IoU.
    """
    hits, found = (np.zeros(n, dtype=bool) for n in ious.shape)
    for i, row in enumerate(ious):
        best = np.where(found, 0, row).argmax()
        hits[i] = not found[best] and row[best] >= IOU
        found[best] |= hits[i]
    return found, hits


def draw(path: Path, sides: Sequence[Matched]) -> bytes:
    """Draw two detectors' matches on an image, as JPEG."""
    with Image.open(path) as file:
        image = ImageOps.exif_transpose(file).convert('RGB')
    scale = WIDTH / image.width
    image = image.resize((WIDTH, max(round(image.height * scale), 1)))
    sheet = Image.new('RGB', (2 * WIDTH + 6, image.height), 'white')
    for place, side in enumerate(sides):
        panel = image.copy()
        for box, std in zip(side.boxes * scale, side.stds * scale):
            panel.paste(HIT, mask=_band(panel.size, box, std))
        for boxes, colour in (
            (side.objects[~side.found], MISSED),
            (side.boxes[~side.hits], FALSE),
            (side.boxes[side.hits], HIT),
        ):
            for box in (boxes * scale).tolist():
                ImageDraw.Draw(panel).rectangle(box, outline=colour, width=2)
        sheet.paste(panel, (place * (WIDTH + 6), 0))
    for quality in (70, 50, 30, 15):
        data = io.BytesIO()
        sheet.save(data, 'JPEG', quality=quality)
        if data.tell() <= BYTES:
            break
    return data.getvalue()


def _band(
    size: Tuple[int, int], box: np.ndarray, std: np.ndarray
) -> Image.Image:
    """A see-through mask of one std to either side of a box's edges."""
    mask, outwards = Image.new('L', size), std * [-1, -1, 1, 1]
    inner = (box - outwards).tolist()
    if std.any():
        ImageDraw.Draw(mask).rectangle((box + outwards).tolist(), fill=80)
        if inner[0] < inner[2] and inner[1] < inner[3]:
            ImageDraw.Draw(mask).rectangle(inner, fill=0)
    return mask
