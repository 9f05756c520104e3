"""Examples: which images are shown, and what is drawn on them."""

import io

import numpy as np
import pytest
from PIL import Image
from synthetic_results import synthetic_results, write_examples

from mmdet_klrpn.benchmark import examples
from mmdet_klrpn.benchmark.examples import (
    Matched,
    assign,
    find_examples,
    largest_gaps,
    match,
)


@pytest.fixture
def results(tmp_path):
    found = synthetic_results()
    write_examples(tmp_path, found)
    return found


def test_matches_by_class_score_and_number(results, tmp_path):
    found = [match(tmp_path / f'{place}') for place in range(4)]
    for place, images in enumerate(found):
        assert list(images) == ['0.png', '1.png', '2.png', '3.png']
        for file, image in images.items():
            expected = 0 if file == '3.png' else min(place, 3)
            assert image.found.sum() == image.hits.sum() == expected
            assert len(image.objects) == 3  # without the crowd
            assert len(image.boxes) <= 3
    wins = largest_gaps(found[0], found[2], 2)
    assert wins == [('0.png', True), ('1.png', True)]
    assert largest_gaps(found[2], found[0], 1) == [('0.png', False)]


def test_each_detection_takes_one_object():
    ious = np.array([[0.6, 0.7], [0.55, 0.9], [0.8, 0.0], [0.1, 0.2]])
    found, hits = assign(ious)
    assert found.tolist() == [True, True]
    assert hits.tolist() == [True, True, False, False]
    found, hits = assign(np.zeros((0, 2)))
    assert not found.any()
    assert len(hits) == 0


def test_pictures_and_what_is_missing(results, tmp_path):
    shown, text = find_examples(results)
    assert text == ''
    assert len(shown) == 9  # three of each of three comparisons
    assert 'KL-RPN finds more of 3 objects. Left: RPN, 0;' in shown[3].caption
    picture = Image.open(io.BytesIO(shown[3].jpeg))
    assert picture.width == 2 * examples.WIDTH + 6
    assert all(len(example.jpeg) < 2 * examples.BYTES for example in shown)
    assert len({example.name for example in shown}) == 9

    (tmp_path / '0.png').unlink()
    (tmp_path / '1.png').write_text('no picture')
    shown, text = find_examples(results)
    assert len(shown) == 3
    assert text == 'Left out, as their files cannot be read: 6 images.'


def test_a_band_shows_the_stds(tmp_path):
    path, size = tmp_path / 'image.png', (examples.WIDTH, examples.WIDTH)
    Image.new('RGB', size, 'black').save(path)
    boxes, stds = np.array([[60.0, 60, 160, 160]]), np.full((1, 4), 20.0)
    yes = np.ones(1, dtype=bool)
    pictures = [
        Image.open(io.BytesIO(examples.draw(path, [side, side])))
        for side in (
            Matched(boxes, boxes, yes, yes, stds),
            Matched(boxes, boxes, yes, yes, 0 * stds),
        )
    ]
    with_stds, without = (np.asarray(p.convert('L')) for p in pictures)
    for y, x in ((110, 48), (110, 72), (48, 110), (172, 172)):
        assert with_stds[y, x] > 30 + without[y, x]
    for y, x in ((110, 30), (110, 110), (195, 110)):
        assert with_stds[y, x] < 20


def test_without_detections_there_are_none():
    assert find_examples(synthetic_results()) == ([], '')
