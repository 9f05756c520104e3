#!/usr/bin/env python
"""Make the aquarium data set: photographs of 512 pixels at most, in COCO form.

The source is "Aquarium Combined" by Roboflow (CC BY 4.0), export "raw-1024",
in YOLO v5 or COCO form; the splits are the publisher's. A result of this tool
is a source as well, and is copied. Boxes are in pixels of the result, clipped
to it, and left out where a side is under a pixel.

The labels of two photographs of the YOLO v5 export give the boxes that the
study's figures were measured with. The rest of the export was not at hand: not
its photographs, whose pixels depend on how they are resized, nor its COCO
form, known from other data sets of Roboflow's, whose boxes may be rounded.
"""

import json
import re
import shutil
from pathlib import Path
from typing import Dict, List, NamedTuple, Tuple

import yaml
from coco_form import coco_form, write_coco
from PIL import Image

from mmdet_klrpn.utils import ToolParser, one_line_errors

CLASSES = (
    *('fish', 'jellyfish', 'penguin', 'puffin', 'shark'),
    *('starfish', 'stingray'),
)
# Folders of the source by split; test, whose file ends a conversion, is last.
SPLITS = dict(train='train', val='valid', test='test')
SIZE = 512  # of the longer side, in pixels
QUALITY = 87  # of JPEG
# What Roboflow appends to the name of a file.
APPENDED = re.compile(r'(_jpe?g)*\.rf\.\w+$')
WHERE = (
    'download "Aquarium Combined", export "raw-1024" in YOLO v5 or COCO form, '
    'from https://universe.roboflow.com (Roboflow, CC BY 4.0), unpack it, and '
    'give its folder to projects/kl_rpn_study/converters/aquarium.py'
)


class Box(NamedTuple):
    """An object, with its edges as shares of the width and height."""

    name: str
    left: float
    top: float
    right: float
    bottom: float


def read_yolo(source: Path, folder: str) -> Dict[Path, List[Box]]:
    """Read the boxes of each image of a split in YOLO v5 form.

    Raises:
        ValueError: If a line is not a class and four numbers.
    """
    names = yaml.safe_load((source / 'data.yaml').read_text())['names']
    found: Dict[Path, List[Box]] = {}
    for image in (source / folder / 'images').iterdir():
        path = source / folder / 'labels' / f'{image.stem}.txt'
        boxes = found.setdefault(image, [])
        for line in path.read_text().splitlines():
            try:
                label, x, y, width, height = map(float, line.split())
            except ValueError as error:
                raise ValueError(
                    f'{path} has the line {line!r}, but a box is a class and '
                    'four numbers: export boxes, not polygons'
                ) from error
            half = width / 2, height / 2
            corners = x - half[0], y - half[1], x + half[0], y + half[1]
            boxes.append(Box(names[int(label)], *corners))
    return found


def read_coco(annotations: Path, folder: Path) -> Dict[Path, List[Box]]:
    """Read the boxes of each image of a COCO file."""
    coco = json.loads(annotations.read_text())
    names = {each['id']: each['name'] for each in coco['categories']}
    images = {each['id']: each for each in coco['images']}
    found: Dict[Path, List[Box]] = {
        folder / each['file_name']: [] for each in images.values()
    }
    for each in coco['annotations']:
        image = images[each['image_id']]
        x, y, width, height = each['bbox']
        sides = 2 * (image['width'], image['height'])
        corners = x, y, x + width, y + height
        shares = (corner / side for corner, side in zip(corners, sides))
        box = Box(names[each['category_id']], *shares)
        found[folder / image['file_name']].append(box)
    return found


def read_split(source: Path, folder: str) -> Dict[Path, List[Box]]:
    """Read a split in whichever form it is.

    Raises:
        FileNotFoundError: If it is in none.
    """
    if (source / 'data.yaml').is_file():
        return read_yolo(source, folder)
    exported = source / folder / '_annotations.coco.json'
    for path in (exported, source / f'{folder}.json'):
        if path.is_file():
            return read_coco(path, source / folder)
    raise FileNotFoundError(
        f'{source} has neither data.yaml nor {folder}/_annotations.coco.json '
        f'nor {folder}.json: {WHERE}'
    )


def scale_boxes(boxes: List[Box], size: Tuple[int, int]) -> List[dict]:
    """Objects of COCO form on an image of a width and height in pixels.

    Raises:
        ValueError: If one is of no class of `CLASSES`.
    """
    objects = []
    for name, *shares in boxes:
        if name not in CLASSES:
            raise ValueError(
                f'an object is of the class {name!r}, but the data set has '
                f'{", ".join(CLASSES)}: is the source another one?'
            )
        # Shares of a published box are of sixteen digits: pixels are rounded
        # to what they were.
        left, top, right, bottom = (
            round(max(0, min(share, 1)) * side, 2)
            for share, side in zip(shares, 2 * size)
        )
        width, height = right - left, bottom - top
        if min(width, height) >= 1:
            objects.append(
                dict(
                    category_id=CLASSES.index(name) + 1,
                    bbox=[left, top, width, height],
                    area=width * height,
                )
            )
    return objects


def write_image(source: Path, out: Path) -> Tuple[int, int]:
    """Write an image, resized if it is too large; return width and height."""
    with Image.open(source) as image:
        scale = SIZE / max(image.size)
        if scale < 1:
            width, height = (round(scale * side) for side in image.size)
            image = image.convert('RGB').resize((width, height), Image.LANCZOS)
            image.save(out, quality=QUALITY)
        else:
            shutil.copyfile(source, out)
        return image.size


def convert(source: Path, root: Path) -> None:
    """Write the data set.

    Args:
        source (Path): Folder of the export, or of a result of this tool with
            `<split>.json` beside `<split>`.
        root (Path): Folder of the data set.

    Raises:
        FileNotFoundError: If a split is in none of the forms.
        ValueError: If the source is not what was published, or is `root`.
    """
    if source.resolve() == root.resolve():
        raise ValueError(f'--out {root} is the source: choose another folder')
    for split, folder in SPLITS.items():
        images = []
        found = read_split(source, folder)
        (root / split).mkdir(parents=True, exist_ok=True)
        named = {f'{APPENDED.sub("", path.stem)}.jpg': path for path in found}
        if len(named) < len(found):
            raise ValueError(
                f'{source / folder} has {len(found)} images of '
                f'{len(named)} photographs: export it without augmentation'
            )
        for name in sorted(named):
            size = write_image(named[name], root / split / name)
            boxes = scale_boxes(found[named[name]], size)
            images.append((name, size, boxes))
        out = root / 'annotations' / f'{split}.json'
        write_coco(out, coco_form(images, CLASSES))


@one_line_errors()
def main() -> None:
    """Run the command line."""
    parser = ToolParser(description=__doc__)
    parser.add_argument('source', type=Path, nargs='?', help='the export')
    out = Path('data/aquarium')
    parser.add_argument('--out', type=Path, default=out, help='where to')
    args = parser.parse_args()
    if args.source is None:
        parser.error(WHERE)
    convert(args.source, args.out)


if __name__ == '__main__':
    main()
