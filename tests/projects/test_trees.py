"""The tiling of photographs into a COCO data set."""

import json

import numpy as np
import pytest
import trees
from pycocotools.coco import COCO


@pytest.mark.parametrize(
    ('length', 'tile', 'expected'),
    [(352, 352, [0]), (353, 352, [0, 1]), (1000, 400, [0, 300, 600])],
)
def test_tiles_cover_the_length(length, tile, expected):
    assert trees.tile_starts(length, tile) == expected


def test_a_tile_larger_than_the_image_is_refused():
    with pytest.raises(ValueError, match='tile must be at most 100'):
        trees.tile_starts(100, 352)


def test_clipped_boxes_are_kept_from_the_given_share():
    # A tile at (100, 0): the first box has 40% in it, the second 30%.
    boxes = np.array(
        [[94.0, 10, 104, 20], [93, 10, 103, 20], [110, 5, 120, 9]]
    )
    clipped = trees.clip_boxes(boxes, 100, 0, 50, min_visible=0.4)
    np.testing.assert_array_equal(clipped, [[0, 10, 4, 20], [10, 5, 20, 9]])


def test_boxes_without_an_area_are_dropped():
    boxes = np.array([[10.0, 10, 10, 20]])
    assert len(trees.clip_boxes(boxes, 0, 0, 50, min_visible=0.4)) == 0


def test_reads_voc_boxes(tmp_path):
    path = tmp_path / 'labels.xml'
    box = '<xmin>1</xmin><ymin>2</ymin><xmax>30</xmax><ymax>40</ymax>'
    path.write_text(
        f'<annotation><object><bndbox>{box}</bndbox></object></annotation>'
    )
    np.testing.assert_array_equal(trees.read_voc_boxes(path), [[1, 2, 30, 40]])


def test_tiles_hold_the_pixels_under_their_boxes(tmp_path):
    image = np.zeros((90, 130, 3), dtype=np.uint8)
    image[20:40, 60:75] = 255
    images, annotations = trees.tile_scene(
        image, np.array([[60.0, 20, 75, 40]]), tmp_path, 64, 0.4
    )
    assert len(images) == 2 * 3
    path = tmp_path / 'coco.json'
    categories = [dict(id=1, name='tree')]
    path.write_text(
        json.dumps(
            dict(images=images, annotations=annotations, categories=categories)
        )
    )
    coco = COCO(str(path))
    seen = 0
    for info in coco.loadImgs(coco.getImgIds()):
        tile = trees.mmcv.imread(str(tmp_path / info['file_name']))
        assert tile.shape == (64, 64, 3)
        for annotation in coco.imgToAnns[info['id']]:
            x, y, w, h = map(int, annotation['bbox'])
            assert (tile[y : y + h, x : x + w] == 255).all()
            assert annotation['area'] == w * h
            seen += 1
    assert seen >= 2
