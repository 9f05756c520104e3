"""The stamps data set, from packages that stand for Debian's."""

import json
from collections import Counter

import numpy as np
import pytest
import stamps
from PIL import Image
from pycocotools.coco import COCO

COUNTS = dict(train=5, test=7, val=4)
PER_FOLDER = 4


def write_packages(root):
    """Write the packages as they are once fetched."""
    rng = np.random.default_rng(0)
    for package in stamps.PACKAGES:
        (root / 'packages' / package).mkdir(parents=True)
        (root / 'packages' / package / 'version.txt').write_text('1.2-3\n')
    cut_outs = root / 'packages/tuxpaint-stamps-default' / stamps.STAMPS
    for kind in (*stamps.CLASSES.values(), stamps.DISTRACTORS):
        for folder in kind.folders:
            (cut_outs / folder).mkdir(parents=True)
            for number in range(PER_FOLDER):
                colour = tuple(rng.integers(0, 256, 3).tolist())
                image = Image.new('RGBA', (90, 70))
                image.paste((*colour, 255), (20, 20, 70, 50))
                image.save(cut_outs / folder / f'{number}.png')
    folders = (
        root / 'packages/tuxpaint-data' / stamps.TEMPLATES,
        root / 'packages/mate-backgrounds' / stamps.WALLPAPERS,
    )
    for folder in folders:
        folder.mkdir(parents=True)
        for number in range(2):
            grey = int(rng.integers(60, 200))
            Image.new('RGB', (480, 400), (grey,) * 3).save(
                folder / f'{number}.jpg'
            )


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    """Folder of a small data set."""
    root = tmp_path_factory.mktemp('stamps')
    write_packages(root)
    stamps.convert(root, counts=COUNTS)
    return root


def contents(root):
    """Every file of the splits, as bytes."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for folder in ('annotations', *COUNTS)
        for path in (root / folder).iterdir()
    }


@pytest.mark.parametrize('split', COUNTS)
def test_is_a_coco_data_set(root, split):
    coco = COCO(str(root / f'annotations/{split}.json'))
    assert len(coco.imgs) == COUNTS[split]
    assert [c['name'] for c in coco.cats.values()] == list(stamps.CLASSES)
    assert len(coco.anns) >= 3 * COUNTS[split]
    for info in coco.imgs.values():
        with Image.open(root / split / info['file_name']) as image:
            assert image.size == (info['width'], info['height'])
    for annotation in coco.anns.values():
        x, y, width, height = annotation['bbox']
        assert min(x, y) >= 0
        assert max(x + width, y + height) <= stamps.SIZE
        assert 0 < annotation['area'] <= width * height


def test_the_splits_share_no_source(root):
    parts = [
        json.loads((root / f'annotations/{split}.json').read_text())['info']
        for split in COUNTS
    ]
    sources = [part['sources'] for part in parts]
    numbers = {
        name: PER_FOLDER * len(kind.folders)
        for name, kind in stamps.CLASSES.items()
    }
    numbers.update(background=4, distractor=PER_FOLDER * len(stamps.OTHERS))
    for name, number in numbers.items():
        assert all(part[name] for part in sources)
        dealt = [path for part in sources for path in part[name]]
        assert len(dealt) == len(set(dealt)) == number
    assert all(set(part) == set(numbers) for part in sources)


@pytest.mark.parametrize(
    ('number', 'expected'), [(35, (21, 9, 5)), (13, (8, 3, 2)), (3, (1, 1, 1))]
)
def test_files_are_dealt_to_each_split(number, expected):
    parts = stamps.split_paths(range(number), np.random.default_rng(0))
    assert tuple(len(parts[split]) for split in stamps.SPLITS) == expected
    order = np.random.default_rng(0).permutation(number).tolist()
    assert [n for part in parts.values() for n in part] == order


def test_says_what_it_is_made_from(root):
    text = (root / 'annotations/test.json').read_text()
    info = json.loads(text)['info']
    assert info['packages'] == dict.fromkeys(stamps.PACKAGES, '1.2-3')
    assert info['seed'] == 0
    assert len(info['sources_sha256']) == 64


def test_the_same_sources_and_seed_give_the_same(root, tmp_path):
    write_packages(tmp_path)
    stamps.convert(tmp_path, counts=COUNTS)
    assert contents(tmp_path) == contents(root)
    stamps.convert(tmp_path, seed=1, counts=COUNTS)
    assert contents(tmp_path) != contents(root)


def test_mirrored_stamps_and_drawings_are_left_out(tmp_path):
    folder = (
        tmp_path / 'tuxpaint-stamps-default' / stamps.STAMPS / 'animals/birds'
    )
    (folder / 'cartoon').mkdir(parents=True)
    for name in ('crow', 'crow_mirror', 'cartoon/duck', 'bee'):
        (folder / f'{name}.png').touch()
    found = stamps.find_cut_outs(tmp_path, stamps.CLASSES['bird'])
    assert [path.name for path in found] == ['crow.png']


def test_frequencies_are_unequal_and_sum_to_one():
    shares = [kind.share for kind in stamps.CLASSES.values()]
    assert sum(shares) == pytest.approx(1)
    assert max(shares) >= 10 * min(shares)


def test_some_images_are_empty_and_some_crowded():
    rng = np.random.default_rng(0)
    counts = Counter(stamps.number_of_objects(rng) for _ in range(2000))
    assert set(counts) == {0, *range(4, 13), *range(14, 21)}
    assert counts[0] / 2000 == pytest.approx(0.05, abs=0.02)
