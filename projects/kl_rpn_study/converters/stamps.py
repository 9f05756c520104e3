#!/usr/bin/env python
"""Make the stamps data set: photographs with cut-outs on them, in COCO form.

Six classes of unequal frequency and size. The cut-outs are Tux Paint's stamps,
the photographs behind them come with Tux Paint and with the MATE desktop: all
three are packages of Debian, fetched by apt. No cut-out and no background is
in both splits. A box is the extent of what can be seen of its object, and what
has no box is of no class. The result is the same on every run with the same
versions of the packages, which are written into the annotations.

The longer sides of the boxes, in pixels, with Debian 12's packages:

=======  =====  ======  ===========
class    share  median  80% of them
=======  =====  ======  ===========
bird       40%      21     13 to 35
fruit      25%      18     12 to 27
mammal     15%      84     61 to 119
plant      10%      54     33 to 91
tool        6%      58     42 to 93
vehicle     4%      40     25 to 61
=======  =====  ======  ===========
"""

import argparse
import hashlib
import json
import shutil
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from compositing import (
    Scene,
    random_square,
    read_cut_out,
    vary_cut_out,
)
from debian_files import fetch_from_debian
from PIL import Image

STAMPS = 'usr/share/tuxpaint/stamps'
TEMPLATES = 'usr/share/tuxpaint/templates'
WALLPAPERS = 'usr/share/backgrounds/mate/nature'


class Kind(NamedTuple):
    """What is drawn of a class."""

    folders: Tuple[str, ...]  # of the stamps
    share: float  # of the objects
    size: Tuple[int, int]  # of the longer side, in pixels
    turn: int  # either way, in degrees


CLASSES = dict(
    bird=Kind(('animals/birds',), 0.40, (14, 40), 15),
    fruit=Kind(('food/fruit',), 0.25, (12, 32), 180),
    mammal=Kind(('animals/mammals',), 0.15, (60, 140), 10),
    # Twigs and leaves: where they end is vague.
    plant=Kind(('plants',), 0.10, (30, 110), 20),
    # Thin, in any direction.
    tool=Kind(('household/tools', 'household/arttools'), 0.06, (40, 110), 180),
    vehicle=Kind(('vehicles', 'military/vehicles'), 0.04, (24, 70), 10),
)
# They have no boxes, to be told from the classes.
DISTRACTORS = Kind(
    ('animals/insects', 'hobbies', 'household/dishes', 'sports'),
    0,
    (16, 90),
    180,
)
# A mirrored stamp is a second file of the same cut-out.
NOT_CUT_OUTS = ('cartoon', 'plastic', 'toys', '_mirror', '_flip')
DRAWINGS = ('bee', 'echidna', 'hedgehog', 'wrench_adjustable')
UNCLEAR = (
    '7spoke256',
    'cementmixer',
    'pinecone',
    'rambutan',
    'toolbox',
    'wheel_tractor',
)
# Photographs that show things of the classes, and one with a black margin.
NOT_BACKGROUNDS = (
    'FreshFlower',
    'Garden',
    'LadyBird',
    'TwoWings',
    'YellowFlower',
    'mossy_bark',
    'sheep',
    'spiders_web',
)
PACKAGES = {
    'tuxpaint-stamps-default': [
        f'{STAMPS}/{folder}/**/*.png'
        for kind in (*CLASSES.values(), DISTRACTORS)
        for folder in kind.folders
    ],
    'tuxpaint-data': [f'{TEMPLATES}/*.jpg'],
    'mate-backgrounds': [f'{WALLPAPERS}/*.jpg'],
}

SPLITS = dict(train=240, test=300)
TRAIN_SHARE = 0.6  # of the cut-outs of a class, and of the backgrounds
SIZE = 352  # of an image, in pixels


def find_cut_outs(packages: Path, kind: Kind) -> List[Path]:
    """Photographic stamps of a kind, in a fixed order."""
    root = packages / 'tuxpaint-stamps-default' / STAMPS
    found = [p for f in kind.folders for p in (root / f).rglob('*.png')]
    return sorted(
        path
        for path in found
        if path.stem not in DRAWINGS + UNCLEAR
        and not any(
            word in str(path.relative_to(root)) for word in NOT_CUT_OUTS
        )
    )


def find_backgrounds(packages: Path) -> List[Path]:
    """Photographs that show nothing of the classes, in a fixed order."""
    folders = (
        packages / 'tuxpaint-data' / TEMPLATES,
        packages / 'mate-backgrounds' / WALLPAPERS,
    )
    return [
        path
        for folder in folders
        for path in sorted(folder.glob('*.jpg'))
        if path.stem not in NOT_BACKGROUNDS
    ]


def split_paths(
    paths: Sequence[Path], rng: np.random.Generator
) -> Dict[str, List[Path]]:
    """Deal files out to the splits, at least one to each.

    Raises:
        ValueError: If there are fewer than two.
    """
    if len(paths) < 2:
        raise ValueError(
            f'two files are needed for two splits, but got {list(paths)}'
        )
    order = [paths[i] for i in rng.permutation(len(paths))]
    cut = min(max(round(TRAIN_SHARE * len(paths)), 1), len(paths) - 1)
    return dict(train=order[:cut], test=order[cut:])


def number_of_objects(rng: np.random.Generator) -> int:
    """Of an image: some are empty, and some crowded."""
    kind = rng.random()
    if kind < 0.05:
        return 0
    if kind < 0.2:
        return int(rng.integers(14, 21))
    return int(rng.integers(4, 13))


def compose(
    background: Image.Image,
    cut_outs: Sequence[Sequence[Image.Image]],
    distractors: Sequence[Image.Image],
    rng: np.random.Generator,
) -> Scene:
    """Compose an image.

    Args:
        background (Image.Image): Photograph, in RGB.
        cut_outs (Sequence[Sequence[Image.Image]]): Of each class.
        distractors (Sequence[Image.Image]): Cut-outs of no class.
        rng (np.random.Generator): Source of the choices.

    Returns:
        Scene: The objects on a square of the photograph.
    """
    scene = Scene(random_square(background, SIZE, rng))
    kinds = list(CLASSES.values())
    labels: List[Optional[int]] = [None] * int(rng.integers(4))
    labels += rng.choice(
        len(kinds), number_of_objects(rng), p=[kind.share for kind in kinds]
    ).tolist()
    for label in rng.permutation(np.array(labels, dtype=object)):
        choice = distractors if label is None else cut_outs[label]
        kind = DISTRACTORS if label is None else kinds[label]
        cut_out = choice[int(rng.integers(len(choice)))]
        low, high = kind.size
        size = low * (high / low) ** rng.random()
        cut_out = vary_cut_out(cut_out, size, kind.turn, rng)
        scene.place(cut_out, label, rng)
    scene.expose(rng)
    return scene


def digest(paths: Sequence[Path], root: Path) -> str:
    """SHA-256, in hexadecimal, of files and of their names below a root."""
    result = hashlib.sha256()
    for path in sorted(paths):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        result.update(
            f'{content}  {path.relative_to(root).as_posix()}\n'.encode()
        )
    return result.hexdigest()


def write_split(
    folder: Path,
    annotation_file: Path,
    count: int,
    sources: Dict[str, List[Path]],
    info: dict,
) -> dict:
    """Compose a split, unless it is there, and write it.

    The annotations are written last: with them, a split is complete.

    Args:
        folder (Path): Where the images go.
        annotation_file (Path): Where the annotations go.
        count (int): Number of images.
        sources (dict[str, list[Path]]): Cut-outs of each class, and those of
            `distractor` and `background`.
        info (dict): What the split is made from and how.

    Returns:
        dict: The split in COCO form.
    """
    names = [f'{index:04d}.jpg' for index in range(count)]
    if annotation_file.exists():
        coco = json.loads(annotation_file.read_text())
        images_exist = all((folder / name).exists() for name in names)
        if coco.get('info') == info and images_exist:
            return coco
        annotation_file.unlink()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    cut_outs = {
        name: [read_cut_out(path) for path in paths]
        for name, paths in sources.items()
        if name != 'background'
    }
    photos = [Image.open(p).convert('RGB') for p in sources['background']]
    images, annotations = [], []
    for index, name in enumerate(names):
        # Each image has its own source: it is the same in a larger split.
        rng = np.random.default_rng(
            [info['seed'], list(SPLITS).index(info['split']), index]
        )
        scene = compose(
            photos[int(rng.integers(len(photos)))],
            [cut_outs[name] for name in CLASSES],
            cut_outs['distractor'],
            rng,
        )
        scene.image.save(folder / name, quality=95)
        images.append(
            dict(id=index + 1, file_name=name, width=SIZE, height=SIZE)
        )
        for annotation in scene.annotations():
            number = dict(id=len(annotations) + 1, image_id=index + 1)
            annotations.append({**number, **annotation})
    coco = dict(
        info=info,
        images=images,
        annotations=annotations,
        categories=[dict(id=i, name=n) for i, n in enumerate(CLASSES, 1)],
    )
    annotation_file.parent.mkdir(parents=True, exist_ok=True)
    part = annotation_file.with_name(annotation_file.name + '.part')
    part.write_text(json.dumps(coco))
    part.replace(annotation_file)
    return coco


def describe(annotation_file: Path, coco: dict) -> str:
    """Say what is in a split."""
    lines = [
        f'{annotation_file}: {len(coco["images"])} images of {SIZE}x{SIZE}, '
        f'{len(coco["annotations"])} boxes'
    ]
    for category in coco['categories']:
        sizes = [
            max(annotation['bbox'][2:])
            for annotation in coco['annotations']
            if annotation['category_id'] == category['id']
        ]
        line = f'  {category["name"]}: {len(sizes)} boxes'
        if sizes:
            low, middle, high = np.quantile(sizes, (0.1, 0.5, 0.9))
            line += (
                f', the longer side {middle:.0f} pixels '
                f'({low:.0f} to {high:.0f} for 80% of them)'
            )
        lines.append(line)
    return '\n'.join(lines)


def convert(
    root: Path, seed: int = 0, counts: Optional[Dict[str, int]] = None
) -> List[str]:
    """Fetch the packages, unless they are there, and write the data set.

    Args:
        root (Path): Folder of the data set.
        seed (int): Of the splits and of the images.
        counts (dict[str, int], optional): Images of each split. Defaults to
            `SPLITS`.

    Returns:
        list[str]: A few lines on each split.
    """
    packages = root / 'packages'
    versions = {
        name: fetch_from_debian(name, patterns, packages / name)
        for name, patterns in PACKAGES.items()
    }
    sources = {
        name: find_cut_outs(packages, kind)
        for name, kind in [*CLASSES.items(), ('distractor', DISTRACTORS)]
    }
    sources['background'] = find_backgrounds(packages)
    checksum = digest(
        [p for paths in sources.values() for p in paths], packages
    )
    parts = {
        # Each has its own source: a file more of one moves none of another.
        name: split_paths(paths, np.random.default_rng([seed, index]))
        for index, (name, paths) in enumerate(sources.items())
    }
    lines = []
    for split, count in (counts or SPLITS).items():
        chosen = {name: part[split] for name, part in parts.items()}
        info = dict(
            description='Cut-outs of photographs on photographs',
            split=split,
            seed=seed,
            packages=versions,
            sources_sha256=checksum,
            classes={name: list(kind) for name, kind in CLASSES.items()},
            sources={
                name: [p.relative_to(packages).as_posix() for p in paths]
                for name, paths in chosen.items()
            },
        )
        annotation_file = root / 'annotations' / f'{split}.json'
        coco = write_split(
            root / split,
            annotation_file,
            count,
            chosen,
            json.loads(json.dumps(info)),  # as it is read again
        )
        lines.append(describe(annotation_file, coco))
    return lines


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument('--out-dir', type=Path, default=Path('data/stamps'))
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args()
    print('\n'.join(convert(args.out_dir, args.seed)))


if __name__ == '__main__':
    main()
