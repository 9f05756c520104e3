#!/usr/bin/env python
"""Make the trees data set: aerial photographs tiled into COCO form.

Two photographs of the Yellowstone NEON site, with boxes on the tree crowns,
come with the package deepforest (MIT). One is tiled to train on, the other, a
different scene, to test on. The result is the same on every run.
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
SCENES = dict(
    train='2019_YELL_2_528000_4978000_image_crop2',
    test='2019_YELL_2_541000_4977000_image_crop',
)
TILE = 352  # width and height, in pixels
MIN_VISIBLE = 0.4  # of a box's area, to keep it


def read_voc_boxes(path: Path) -> np.ndarray:
    """Read the boxes of a VOC XML file as (n, 4) x1, y1, x2, y2 in pixels."""
    corners = ('xmin', 'ymin', 'xmax', 'ymax')
    boxes = [
        [float(box.find(corner).text) for corner in corners]
        for box in ElementTree.parse(path).getroot().iter('bndbox')
    ]
    return np.asarray(boxes, dtype=float).reshape(-1, 4)


def tile_starts(length: int) -> List[int]:
    """Starts of the fewest tiles that cover a length, evenly spaced."""
    count = -(-length // TILE)
    return [round(start) for start in np.linspace(0, length - TILE, count)]


def clip_boxes(boxes: np.ndarray, x: int, y: int) -> np.ndarray:
    """Boxes in a tile's coordinates, those of which enough is in it.

    Args:
        boxes (np.ndarray): (n, 4) x1, y1, x2, y2 in pixels of the image.
        x (int): Left edge of the tile.
        y (int): Its upper edge.
    """
    clipped = np.clip(boxes - [x, y, x, y], 0, TILE)
    area = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    visible = np.prod(clipped[:, 2:] - clipped[:, :2], axis=1)
    return clipped[(area > 0) & (visible >= MIN_VISIBLE * area)]


def tile_scene(
    image: np.ndarray, boxes: np.ndarray, folder: Path
) -> List[Tuple[str, List[dict]]]:
    """Write a photograph's tiles.

    Args:
        image (np.ndarray): (H, W, 3).
        boxes (np.ndarray): (n, 4) x1, y1, x2, y2 in its pixels.
        folder (Path): Where the tiles go.

    Returns:
        list[tuple[str, list[dict]]]: The images of `coco_form`.
    """
    images = []
    height, width = image.shape[:2]
    for y in tile_starts(height):
        for x in tile_starts(width):
            name = f'{y:04d}_{x:04d}.png'
            crop = image[y : y + TILE, x : x + TILE]
            mmcv.imwrite(crop, str(folder / name))
            objects = [
                dict(
                    category_id=1,
                    bbox=[x1, y1, x2 - x1, y2 - y1],
                    area=(x2 - x1) * (y2 - y1),
                )
                for x1, y1, x2, y2 in clip_boxes(boxes, x, y)
            ]
            images.append((name, objects))
    return images


def convert(root: Path) -> None:
    """Fetch the photographs, unless they are there, and write the data set."""
    photos = {
        split: root / 'photographs' / f'{scene}.png'
        for split, scene in SCENES.items()
    }
    files = [
        p.with_suffix(e) for p in photos.values() for e in ('.png', '.xml')
    ]
    members = {f'deepforest/data/{file.name}': file for file in files}
    fetch_from_wheel(REQUIREMENT, SHA256, members)
    for split, photo in photos.items():
        boxes = read_voc_boxes(photo.with_suffix('.xml'))
        tiles = tile_scene(mmcv.imread(str(photo)), boxes, root / split)
        out = root / 'annotations' / f'{split}.json'
        write_coco(out, coco_form(tiles, TILE, ['tree']))


if __name__ == '__main__':
    argparse.ArgumentParser(description=__doc__).parse_args()
    convert(Path('data/trees'))
