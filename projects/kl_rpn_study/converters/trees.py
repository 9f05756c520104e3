#!/usr/bin/env python
"""Make the trees data set: aerial photographs tiled into COCO form.

Two photographs of the Yellowstone NEON site, with boxes on the tree crowns,
come with the package deepforest (MIT). One is tiled to train on, the other, a
different scene, to test on. The result is the same on every run.
"""

import argparse
import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import List, Tuple

import mmcv
import numpy as np
from pypi_files import fetch_from_wheel

REQUIREMENT = 'deepforest==2.1.0'
SHA256 = '8c2798d8e9be7f0004b194fe207b76c1d9fff6e711b3db67b9508dcd5d00ae54'
SCENES = dict(
    train='2019_YELL_2_528000_4978000_image_crop2',
    test='2019_YELL_2_541000_4977000_image_crop',
)

FORMATS = ('.png', '.xml')


def read_voc_boxes(path: Path) -> np.ndarray:
    """Read the boxes of a VOC XML file as (n, 4) x1, y1, x2, y2 in pixels."""
    corners = ('xmin', 'ymin', 'xmax', 'ymax')
    boxes = [
        [float(box.find(corner).text) for corner in corners]
        for box in ElementTree.parse(path).getroot().iter('bndbox')
    ]
    return np.asarray(boxes, dtype=float).reshape(-1, 4)


def tile_starts(length: int, tile: int) -> List[int]:
    """Starts of the fewest tiles that cover a length, evenly spaced."""
    if length < tile:
        raise ValueError(f'tile must be at most {length}, but got {tile}')
    count = -(-length // tile)
    return [round(start) for start in np.linspace(0, length - tile, count)]


def clip_boxes(
    boxes: np.ndarray, x: int, y: int, tile: int, min_visible: float
) -> np.ndarray:
    """Boxes in a tile's coordinates, those visible by a share of their area.

    Args:
        boxes (np.ndarray): (n, 4) x1, y1, x2, y2 in pixels of the image.
        x (int): Left edge of the tile.
        y (int): Its upper edge.
        tile (int): Its width and height.
        min_visible (float): Smallest share of a box's area to keep it.

    Returns:
        np.ndarray: (m, 4), clipped to the tile.
    """
    clipped = np.clip(boxes - [x, y, x, y], 0, tile)
    area = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    visible = np.prod(clipped[:, 2:] - clipped[:, :2], axis=1)
    return clipped[(area > 0) & (visible >= min_visible * area)]


def tile_scene(
    image: np.ndarray,
    boxes: np.ndarray,
    folder: Path,
    tile: int,
    min_visible: float,
) -> Tuple[List[dict], List[dict]]:
    """Write a photograph's tiles.

    Args:
        image (np.ndarray): (H, W, 3).
        boxes (np.ndarray): (n, 4) x1, y1, x2, y2 in its pixels.
        folder (Path): Where the tiles go.
        tile (int): Their width and height in pixels.
        min_visible (float): See :func:`clip_boxes`.

    Returns:
        tuple[list[dict], list[dict]]: COCO images and annotations.
    """
    images, annotations = [], []
    height, width = image.shape[:2]
    for y in tile_starts(height, tile):
        for x in tile_starts(width, tile):
            name = f'{y:04d}_{x:04d}.png'
            crop = image[y : y + tile, x : x + tile]
            mmcv.imwrite(crop, str(folder / name))
            images.append(
                dict(
                    id=len(images) + 1,
                    file_name=name,
                    width=tile,
                    height=tile,
                )
            )
            for x1, y1, x2, y2 in clip_boxes(boxes, x, y, tile, min_visible):
                annotations.append(
                    dict(
                        id=len(annotations) + 1,
                        image_id=len(images),
                        category_id=1,
                        bbox=[x1, y1, x2 - x1, y2 - y1],
                        area=(x2 - x1) * (y2 - y1),
                        iscrowd=0,
                    )
                )
    return images, annotations


def convert(
    root: Path, tile: int = 352, min_visible: float = 0.4
) -> List[str]:
    """Fetch the photographs, unless they are there, and write the data set.

    Args:
        root (Path): Folder of the data set.
        tile (int): Width and height of a tile in pixels.
        min_visible (float): Smallest share of a clipped box to keep it.

    Returns:
        list[str]: A line on each split.
    """
    photos = {
        split: root / 'photographs' / f'{scene}.png'
        for split, scene in SCENES.items()
    }
    files = [p.with_suffix(e) for p in photos.values() for e in FORMATS]
    members = {f'deepforest/data/{file.name}': file for file in files}
    fetch_from_wheel(REQUIREMENT, SHA256, members)
    lines = []
    for split, photo in photos.items():
        images, annotations = tile_scene(
            mmcv.imread(str(photo)),
            read_voc_boxes(photo.with_suffix('.xml')),
            root / split,
            tile,
            min_visible,
        )
        out = root / 'annotations' / f'{split}.json'
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(
            json.dumps(
                dict(
                    images=images,
                    annotations=annotations,
                    categories=[dict(id=1, name='tree')],
                )
            )
        )
        lines.append(
            f'{out}: {len(images)} tiles of {tile}x{tile}, '
            f'{len(annotations)} boxes'
        )
    return lines


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--out-dir', type=Path, default=Path('data/trees'))
    parser.add_argument('--tile', type=int, default=352, help='in pixels')
    args = parser.parse_args()
    print('\n'.join(convert(args.out_dir, args.tile)))


if __name__ == '__main__':
    main()
