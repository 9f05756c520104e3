"""The tiling of photographs into a COCO data set."""

import numpy as np
import pytest
import trees
from coco_form import coco_form, write_coco
from pycocotools.coco import COCO


@pytest.mark.parametrize(
    ('length', 'expected'),
    [(352, [0]), (353, [0, 1]), (1000, [0, 324, 648])],
)
def test_tiles_cover_the_length(length, expected):
    assert trees.tile_starts(length, 352) == expected


def test_clipped_boxes_are_kept_from_a_share_on():
    # A tile at (100, 0): the first box has 40% in it, the second 30%.
    boxes = np.array(
        [[94.0, 10, 104, 20], [93, 10, 103, 20], [110, 5, 120, 9]]
    )
    clipped = trees.clip_boxes(boxes, 100, 0, trees.TILE)
    np.testing.assert_array_equal(clipped, [[0, 10, 4, 20], [10, 5, 20, 9]])


def test_boxes_without_an_area_are_dropped():
    boxes = np.array([[10.0, 10, 10, 20]])
    assert len(trees.clip_boxes(boxes, 0, 0, trees.TILE)) == 0


def test_reads_voc_boxes(tmp_path):
    path = tmp_path / 'labels.xml'
    box = '<xmin>1</xmin><ymin>2</ymin><xmax>30</xmax><ymax>40</ymax>'
    path.write_text(
        f'<annotation><object><bndbox>{box}</bndbox></object></annotation>'
    )
    np.testing.assert_array_equal(trees.read_voc_boxes(path), [[1, 2, 30, 40]])


def test_tiles_hold_the_pixels_under_their_boxes(tmp_path):
    image = np.zeros((420, 720, 3), dtype=np.uint8)
    image[320:400, 300:375] = 255
    tiles = trees.tile_scene(
        image, np.array([[300.0, 320, 375, 400]]), tmp_path
    )
    assert len(tiles) == 2 * 3
    write_coco(tmp_path / 'coco.json', coco_form(tiles, ['tree']))
    coco = COCO(str(tmp_path / 'coco.json'))
    seen = 0
    for info in coco.loadImgs(coco.getImgIds()):
        tile = trees.mmcv.imread(str(tmp_path / info['file_name']))
        assert tile.shape == (info['height'], info['width'], 3)
        for annotation in coco.imgToAnns[info['id']]:
            x, y, w, h = map(int, annotation['bbox'])
            assert (tile[y : y + h, x : x + w] == 255).all()
            assert annotation['area'] == w * h
            seen += 1
    assert seen >= 2


def test_each_scene_is_a_split(tmp_path):
    photos = tmp_path / 'photographs'
    photos.mkdir()
    names = [name for name, _ in trees.SCENES.values()]
    assert len(set(names)) == len(names) == 3
    for number, name in enumerate(names):
        image = np.full((400, 400, 3), 50 * number, dtype=np.uint8)
        trees.mmcv.imwrite(image, str(photos / f'{name}.png'))
        box = '<xmin>1</xmin><ymin>2</ymin><xmax>30</xmax><ymax>40</ymax>'
        (photos / f'{name}.xml').write_text(f'<a><bndbox>{box}</bndbox></a>')
    trees.convert(tmp_path)
    for number, split in enumerate(trees.SCENES):
        coco = COCO(str(tmp_path / f'annotations/{split}.json'))
        # The photograph to choose on is not cut, so no crown is repeated.
        assert len(coco.imgs) == (1 if split == 'val' else 4)
        assert coco.anns[1]['bbox'] == [1, 2, 29, 38]
        for info in coco.imgs.values():
            path = tmp_path / split / info['file_name']
            tile = trees.mmcv.imread(str(path))
            assert tile.shape == (info['height'], info['width'], 3)
            assert (tile == 50 * number).all()
