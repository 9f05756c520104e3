#!/usr/bin/env python
"""Make the trees data set: aerial photographs tiled into COCO form.

Three photographs of NEON sites, with boxes on the tree crowns, come with the
package deepforest (MIT). Two are scenes of Yellowstone, one tiled to train on,
the other to test on. The third, of Ordway-Swisher, is to choose settings on:
it has 61 crowns, enough for coarse choices alone. The package's fourth, of
Soaproot Saddle, is left out, as most of its boxes are of dead trees. The
result is the same on every run.
"""

import argparse
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import List, Tuple

import mmcv
import numpy as np
from coco_form import coco_form, write_coco
from fetch import fetch_from_wheel

REQUIREMENT = 'deepforest==2.1.0'
SHA256 = '8c2798d8e9be7f0004b194fe207b76c1d9fff6e711b3db67b9508dcd5d00ae54'
TILE = 352  # width and height, in pixels
# The photograph of a split, and the size of its tiles. That of val stays
# whole: tiles that cover its 400 pixels would repeat most of its crowns.
SCENES = dict(
    train=('2019_YELL_2_528000_4978000_image_crop2', TILE),
    test=('2019_YELL_2_541000_4977000_image_crop', TILE),
    val=('OSBS_029', 400),
)
MIN_VISIBLE = 0.4  # of a box's area, to keep it


def read_voc_boxes(path: Path) -> np.ndarray:
    """Read the boxes of a VOC XML file as (n, 4) x1, y1, x2, y2 in pixels."""
    corners = ('xmin', 'ymin', 'xmax', 'ymax')
    boxes = [
        [float(box.find(corner).text) for corner in corners]
        for box in ElementTree.parse(path).getroot().iter('bndbox')
    ]
    return np.asarray(boxes, dtype=float).reshape(-1, 4)


def tile_starts(length: int, size: int) -> List[int]:
    """Starts of the fewest tiles that cover a length, evenly spaced."""
    count = -(-length // size)
    return [round(start) for start in np.linspace(0, length - size, count)]


def clip_boxes(boxes: np.ndarray, x: int, y: int, size: int) -> np.ndarray:
    """Boxes in a tile's coordinates, those of which enough is in it.

    Args:
        boxes (np.ndarray): (n, 4) x1, y1, x2, y2 in pixels of the image.
        x (int): Left edge of the tile.
        y (int): Its upper edge.
        size (int): Its width and height.
    """
    clipped = np.clip(boxes - [x, y, x, y], 0, size)
    area = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    visible = np.prod(clipped[:, 2:] - clipped[:, :2], axis=1)
    return clipped[(area > 0) & (visible >= MIN_VISIBLE * area)]


def tile_scene(
    image: np.ndarray, boxes: np.ndarray, folder: Path, size: int = TILE
) -> List[Tuple[str, Tuple[int, int], List[dict]]]:
    """Write a photograph's tiles.

    Args:
        image (np.ndarray): (H, W, 3).
        boxes (np.ndarray): (n, 4) x1, y1, x2, y2 in its pixels.
        folder (Path): Where the tiles go.
        size (int): Their width and height, in pixels.

    Returns:
        list[tuple[str, tuple[int, int], list[dict]]]: The images of
        `coco_form`.
    """
    images = []
    height, width = image.shape[:2]
    for y in tile_starts(height, size):
        for x in tile_starts(width, size):
            name = f'{y:04d}_{x:04d}.png'
            crop = image[y : y + size, x : x + size]
            mmcv.imwrite(crop, str(folder / name))
            objects = [
                dict(
                    category_id=1,
                    bbox=[x1, y1, x2 - x1, y2 - y1],
                    area=(x2 - x1) * (y2 - y1),
                )
                for x1, y1, x2, y2 in clip_boxes(boxes, x, y, size)
            ]
            images.append((name, (size, size), objects))
    return images


def convert(root: Path) -> None:
    """Fetch the photographs, unless they are there, and write the data set."""
    photos = {
        split: root / 'photographs' / f'{name}.png'
        for split, (name, _) in SCENES.items()
    }
    files = [
        p.with_suffix(e) for p in photos.values() for e in ('.png', '.xml')
    ]
    members = {f'deepforest/data/{file.name}': file for file in files}
    fetch_from_wheel(REQUIREMENT, SHA256, members)
    for split, (_, size) in SCENES.items():
        photo = photos[split]
        boxes = read_voc_boxes(photo.with_suffix('.xml'))
        image = mmcv.imread(str(photo))
        tiles = tile_scene(image, boxes, root / split, size)
        out = root / 'annotations' / f'{split}.json'
        write_coco(out, coco_form(tiles, ['tree']))


if __name__ == '__main__':
    argparse.ArgumentParser(description=__doc__).parse_args()
    convert(Path('data/trees'))
