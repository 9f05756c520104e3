"""Aquarium, from exports that are made here in the published forms."""

import json

import aquarium as tool
import pytest
from PIL import Image

# Lines of labels as published (Aquarium, Roboflow, CC BY 4.0), of images of
# 768 x 1024 and 576 x 1024 pixels, and the boxes when these are halved. The
# last of each is made up: it leaves the image, or is under a pixel wide.
LABELS = {
    'IMG_2274_jpeg_jpg.rf.2f319e949748145fb22dcb52bb325a0c': (
        (768, 1024),
        '0 0.2734375 0.509765625 0.33984375 0.146484375\n'
        '0 0.875 0.640625 0.24739583333333334 0.1259765625\n'
        '4 1.0 0.5 0.25 0.25\n',
    ),
    'IMG_8497_MOV-0_jpg.rf.5c59bd1bf7d8fd7a20999d51a79a12c0': (
        (576, 1024),
        '0 0.265625 0.640625 0.22743055555555555 0.0595703125\n'
        '0 0.4175347222222222 0.02490234375 0.19270833333333334 0.0498046875\n'
        '2 0.5 0.5 0.003 0.25\n',
    ),
}
BOXES = [
    (1, 1, [39.75, 223.5, 130.5, 75.0]),
    (1, 1, [288.5, 295.75, 95.0, 64.5]),
    (1, 5, [336, 192, 48, 128]),
    (2, 1, [43.75, 312.75, 65.5, 30.5]),
    (2, 1, [92.5, 0, 55.5, 25.5]),
]
IMAGES = [
    dict(id=1, file_name='IMG_2274.jpg', width=384, height=512),
    dict(id=2, file_name='IMG_8497_MOV-0.jpg', width=288, height=512),
]


def write_yolo(root):
    names = [*tool.CLASSES]
    root.mkdir()
    (root / 'data.yaml').write_text(f'nc: {len(names)}\nnames: {names}\n')
    for split in tool.SPLITS.values():
        for folder in ('images', 'labels'):
            (root / split / folder).mkdir(parents=True)
        for name, (size, lines) in LABELS.items():
            image = Image.new('RGB', size, (0, 80, 160))
            image.save(root / split / 'images' / f'{name}.jpg')
            (root / split / 'labels' / f'{name}.txt').write_text(lines)


def write_coco(root):
    names = ['creatures', *tool.CLASSES]  # the first holds the others
    coco = dict(
        categories=[dict(id=i, name=name) for i, name in enumerate(names)],
        images=[],
        annotations=[],
    )
    for number, (name, (size, lines)) in enumerate(LABELS.items()):
        width, height = size
        info = dict(file_name=f'{name}.jpg', width=width, height=height)
        coco['images'].append(dict(info, id=number))
        for line in lines.splitlines():
            label, x, y, w, h = map(float, line.split())
            box = [(x - w / 2) * width, (y - h / 2) * height]
            box += [w * width, h * height]
            found = dict(category_id=int(label) + 1, bbox=box)
            coco['annotations'].append(dict(found, image_id=number))
    for split in tool.SPLITS.values():
        (root / split).mkdir(parents=True)
        for name, (size, _) in LABELS.items():
            image = Image.new('RGB', size, (0, 80, 160))
            image.save(root / split / f'{name}.jpg')
        path = root / split / '_annotations.coco.json'
        path.write_text(json.dumps(coco))


@pytest.fixture
def export(tmp_path):
    """Folder of an export in YOLO v5 form."""
    write_yolo(tmp_path / 'export')
    return tmp_path / 'export'


@pytest.mark.parametrize('write', [write_yolo, write_coco])
def test_published_labels_give_the_known_boxes(write, tmp_path):
    write(tmp_path / 'export')
    root = tmp_path / 'data'
    tool.convert(tmp_path / 'export', root)
    for split in ('train', 'val', 'test'):
        coco = json.loads((root / f'annotations/{split}.json').read_text())
        assert coco['images'] == IMAGES
        found = coco['annotations']
        keys = 'image_id', 'category_id', 'bbox'
        assert [tuple(each[k] for k in keys) for each in found] == BOXES
        assert [each['id'] for each in found] == [1, 2, 3, 4, 5]
        assert found[0]['area'] == 130.5 * 75
        assert [each['name'] for each in coco['categories']] == [*tool.CLASSES]
        for info in coco['images']:
            with Image.open(root / split / info['file_name']) as image:
                assert image.size == (info['width'], info['height'])
                assert image.format == 'JPEG'


def test_a_result_is_copied(export, tmp_path):
    first, second = tmp_path / 'first', tmp_path / 'second'
    tool.convert(export, first)
    # As it is given on: <split>.json beside <split>.
    for split, folder in tool.SPLITS.items():
        (first / split).rename(first / folder)
        path = first / f'annotations/{split}.json'
        path.rename(first / f'{folder}.json')
    tool.convert(first, second)
    for split, folder in tool.SPLITS.items():
        written = (second / f'annotations/{split}.json').read_text()
        assert written == (first / f'{folder}.json').read_text()
        for image in (first / folder).iterdir():
            copied = second / split / image.name
            assert copied.read_bytes() == image.read_bytes()


def spoil_labels(text):
    def spoil(export):
        next((export / 'valid/labels').iterdir()).write_text(text)

    return spoil


def repeat_an_image(export):
    for folder, suffix in (('images', 'jpg'), ('labels', 'txt')):
        path = next((export / 'train' / folder).glob(f'*2274*.{suffix}'))
        path.with_name(f'IMG_2274_jpeg_jpg.rf.0a.{suffix}').write_bytes(
            path.read_bytes()
        )


def rename_a_class(export):
    path = export / 'data.yaml'
    path.write_text(path.read_text().replace('fish', 'cod', 1))


@pytest.mark.parametrize(
    ('spoil', 'message'),
    [
        (spoil_labels('0 .1 .1 .2 .1 .2 .2'), 'export boxes, not polygons'),
        (repeat_an_image, '3 images of 2 photographs: export it without aug'),
        (rename_a_class, "class 'cod', but the data set has fish, jellyfish"),
        (
            lambda export: (export / 'data.yaml').unlink(),
            'has neither data.yaml .* download "Aquarium Combined"',
        ),
    ],
)
def test_what_was_not_published_is_refused(spoil, message, export, tmp_path):
    spoil(export)
    with pytest.raises((FileNotFoundError, ValueError), match=message):
        tool.convert(export, tmp_path / 'data')
    assert not (tmp_path / 'data/annotations/test.json').exists()


def test_the_source_is_not_written_to(export):
    with pytest.raises(ValueError, match='is the source: choose another'):
        tool.convert(export, export)


def test_without_a_source_it_says_where_to_get_one(monkeypatch, capsys):
    monkeypatch.setattr('sys.argv', ['aquarium.py'])
    with pytest.raises(SystemExit) as error:
        tool.main()
    assert error.value.code
    line = capsys.readouterr().err.splitlines()[-1]
    assert 'https://universe.roboflow.com (Roboflow, CC BY 4.0)' in line
