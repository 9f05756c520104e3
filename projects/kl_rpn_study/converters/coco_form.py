"""Data sets in COCO form."""

import json
from pathlib import Path
from typing import List, Sequence, Tuple

Images = Sequence[Tuple[str, Tuple[int, int], List[dict]]]


def coco_form(images: Images, classes: Sequence[str]) -> dict:
    """Number images and objects, in their order and from one.

    Args:
        images (Sequence[tuple[str, tuple[int, int], list[dict]]]): Names of
            the files, their width and height in pixels, and the
            `category_id`, `bbox` and `area` of each object.
        classes (Sequence[str]): Their names.

    Returns:
        dict: As in a COCO file.
    """
    pairs = [
        (i, each)
        for i, (_, _, found) in enumerate(images, 1)
        for each in found
    ]
    return dict(
        images=[
            dict(id=i, file_name=name, width=width, height=height)
            for i, (name, (width, height), _) in enumerate(images, 1)
        ],
        annotations=[
            dict(id=i, image_id=image, **each, iscrowd=0)
            for i, (image, each) in enumerate(pairs, 1)
        ],
        categories=[dict(id=i, name=n) for i, n in enumerate(classes, 1)],
    )


def write_coco(path: Path, coco: dict) -> None:
    """Write a COCO file, whole or not at all, and print what is in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + '.part')
    part.write_text(json.dumps(coco))
    part.replace(path)
    counts = [len(coco[key]) for key in ('images', 'annotations')]
    print(f'{path}: {counts[0]} images, {counts[1]} boxes')
