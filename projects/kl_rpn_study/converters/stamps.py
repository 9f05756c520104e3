#!/usr/bin/env python
"""Make the stamps data set: photographs with cut-outs on them, in COCO form.

Six classes of unequal frequency and size. The cut-outs are Tux Paint's stamps,
the photographs behind them come with Tux Paint and with the MATE desktop: all
three are packages of Debian, fetched by apt. No cut-out and no background is
in both splits. A box is the extent of what can be seen of its object, and what
has no box is of no class. The result is the same on every run with the same
versions of the packages, which are written into the annotations.
"""

import argparse
import hashlib
import re
import shutil
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from coco_form import coco_form, write_coco
from compositing import Scene, random_square, read_cut_out, vary_cut_out
from fetch import fetch_from_debian
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
OTHERS = ('animals/insects', 'hobbies', 'household/dishes', 'sports')
DISTRACTORS = Kind(OTHERS, 0, (16, 90), 180)
# A mirrored stamp is a second file of the same cut-out.
NOT_CUT_OUTS = re.compile('cartoon|plastic|toys|_mirror|_flip')
NOT_CLEAR = re.compile(
    'bee|echidna|hedgehog|wrench_adjustable|'  # drawings
    '7spoke256|cementmixer|pinecone|rambutan|toolbox|wheel_tractor'
)
# Photographs that show things of the classes, and one with a black margin.
NOT_BACKGROUNDS = re.compile(
    'FreshFlower|Garden|LadyBird|TwoWings|YellowFlower|mossy_bark|sheep|'
    'spiders_web'
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

# Seeded by their order, which therefore stays.
SPLITS = dict(train=240, test=300, val=150)
# Of the cut-outs of a class, and of the backgrounds; the rest is val's.
SHARES = dict(train=0.6, test=0.25)
SIZE = 352  # of an image, in pixels


def find_cut_outs(packages: Path, kind: Kind) -> List[Path]:
    """Photographic stamps of a kind, in a fixed order."""
    root = packages / 'tuxpaint-stamps-default' / STAMPS
    return sorted(
        path
        for folder in kind.folders
        for path in (root / folder).rglob('*.png')
        if not NOT_CLEAR.fullmatch(path.stem)
        and not NOT_CUT_OUTS.search(str(path.relative_to(root)))
    )


def find_backgrounds(packages: Path) -> List[Path]:
    """Photographs that show nothing of the classes, in a fixed order."""
    return [
        path
        for folder in (
            f'tuxpaint-data/{TEMPLATES}',
            f'mate-backgrounds/{WALLPAPERS}',
        )
        for path in sorted((packages / folder).glob('*.jpg'))
        if not NOT_BACKGROUNDS.fullmatch(path.stem)
    ]


def split_paths(
    paths: Sequence[Path], rng: np.random.Generator
) -> Dict[str, List[Path]]:
    """Deal three or more files out to the splits, at least one to each."""
    order = [paths[i] for i in rng.permutation(len(paths))]
    last = len(paths) - 1
    first = min(max(round(SHARES['train'] * len(paths)), 1), last - 1)
    share = SHARES['train'] + SHARES['test']
    second = min(max(round(share * len(paths)), first + 1), last)
    return dict(
        train=order[:first], test=order[first:second], val=order[second:]
    )


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
    """Place cut-outs of the classes, and distractors, on a photograph."""
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
    lines = [
        f'{hashlib.sha256(path.read_bytes()).hexdigest()}  '
        f'{path.relative_to(root).as_posix()}\n'
        for path in sorted(paths)
    ]
    return hashlib.sha256(''.join(lines).encode()).hexdigest()


def write_split(
    root: Path,
    split: str,
    count: int,
    sources: Dict[str, List[Path]],
    info: dict,
) -> None:
    """Compose a split's images and write it, its annotations last.

    Args:
        root (Path): Folder of the data set.
        split (str): One of `SPLITS`.
        count (int): Number of images.
        sources (dict[str, list[Path]]): Cut-outs of each class, and those of
            `distractor` and `background`.
        info (dict): What the split is made from and how.
    """
    folder, out = root / split, root / 'annotations' / f'{split}.json'
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    cut_outs = {
        name: [read_cut_out(path) for path in paths]
        for name, paths in sources.items()
        if name != 'background'
    }
    distractors = cut_outs.pop('distractor')
    photos = [Image.open(p).convert('RGB') for p in sources['background']]
    images = []
    for index in range(count):
        # Each image has its own source: it is the same in a larger split.
        rng = np.random.default_rng(
            [info['seed'], list(SPLITS).index(split), index]
        )
        photo = photos[int(rng.integers(len(photos)))]
        scene = compose(photo, list(cut_outs.values()), distractors, rng)
        name = f'{index:04d}.jpg'
        scene.image.save(folder / name, quality=95)
        images.append((name, scene.image.size, scene.objects()))
    coco = dict(info=info, **coco_form(images, list(CLASSES)))
    write_coco(out, coco)


def convert(
    root: Path, seed: int = 0, counts: Optional[Dict[str, int]] = None
) -> None:
    """Fetch the packages, unless they are there, and write the data set.

    Args:
        root (Path): Folder of the data set.
        seed (int): Of the splits and of the images.
        counts (dict[str, int], optional): Images of each split. Defaults to
            `SPLITS`.
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
        write_split(root, split, count, chosen, info)


if __name__ == '__main__':
    argparse.ArgumentParser(description=__doc__.split('\n\n')[0]).parse_args()
    convert(Path('data/stamps'))
