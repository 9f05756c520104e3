"""Cut-outs on a background, and the boxes of what is seen of them."""

import numpy as np
import pytest
from compositing import (
    MIN_VISIBLE,
    Scene,
    random_square,
    read_cut_out,
    vary_cut_out,
)
from PIL import Image

COLOUR = (200, 100, 50)


def block(width, height, colour=COLOUR, margin=3):
    """A cut-out of an opaque block in a transparent margin."""
    size = (width + 2 * margin, height + 2 * margin)
    image = Image.new('RGBA', size)
    image.paste((*colour, 255), (margin, margin, margin + width, height + 3))
    return image


@pytest.fixture
def scene():
    return Scene(Image.new('RGB', (60, 50)))


def test_a_box_is_the_extent_of_the_alpha(scene):
    cut_out = block(10, 6)
    # Seen through: it belongs to no box.
    cut_out.putpixel((0, 0), (255, 255, 255, 127))
    assert scene.paste(cut_out, 17, 20, 2)
    (annotation,) = scene.objects()
    assert annotation == dict(category_id=3, bbox=[20, 23, 10, 6], area=60)
    pixels = np.asarray(scene.image)
    assert (pixels[23:29, 20:30] == COLOUR).all()
    assert pixels.sum() == 60 * sum(COLOUR) + 3 * 127  # and the one pixel


def test_a_box_is_of_what_is_in_the_image(scene):
    assert scene.paste(block(10, 10), -3 - 4, -3, 0)
    assert scene.objects()[0]['bbox'] == [0, 0, 6, 10]
    assert not scene.paste(block(10, 10), -3 - 7, -3, 0)  # 30% of it
    assert len(scene.objects()) == 1


def test_a_box_is_of_what_is_not_hidden(scene):
    scene.paste(block(20, 10), 7, 7, 0)  # x of 10 to 30
    scene.paste(block(12, 30), 15, 0, 1)  # x of 18 to 30
    below, above = scene.objects()
    assert below['bbox'] == [10, 10, 8, 10]
    assert below['area'] == 80
    assert above['bbox'] == [18, 3, 12, 30]


@pytest.mark.parametrize('label', [None, 1])
def test_nothing_hides_more_than_the_limit(scene, label):
    scene.paste(block(20, 10), 7, 7, 0)
    before = np.asarray(scene.image).copy()
    hides = 20 - int(20 * MIN_VISIBLE) + 1
    assert not scene.paste(block(hides, 10, (0, 255, 0)), 7, 7, label)
    np.testing.assert_array_equal(scene.image, before)
    assert scene.paste(block(hides - 1, 10, (0, 255, 0)), 7, 7, label)
    assert scene.objects()[0]['area'] == 10 * int(20 * MIN_VISIBLE)


def test_a_distractor_has_no_box_but_hides(scene):
    scene.paste(block(20, 10), 7, 7, 4)
    scene.paste(block(5, 10), 7, 7, None)
    (annotation,) = scene.objects()
    assert annotation['bbox'] == [15, 10, 15, 10]


def test_objects_are_placed_where_there_is_room(scene):
    rng = np.random.default_rng(0)
    placed = sum(scene.place(block(9, 9), 0, rng) for _ in range(60))
    annotations = scene.objects()
    assert len(annotations) == placed < 60
    assert all(a['area'] >= MIN_VISIBLE * 81 for a in annotations)


def test_a_cut_out_is_scaled_without_a_dark_edge():
    rng = np.random.default_rng(0)
    varied = np.asarray(vary_cut_out(block(40, 20), 24, 0, rng), dtype=int)
    alpha = varied[..., 3]
    columns = np.flatnonzero((alpha >= 128).any(axis=0))
    rows = np.flatnonzero((alpha >= 128).any(axis=1))
    assert columns[-1] - columns[0] + 1 == 24
    assert rows[-1] - rows[0] + 1 == 12
    colour = varied[alpha == 255][0, :3]
    edge = varied[(alpha > 40) & (alpha < 255)][:, :3]
    assert len(edge)
    # Alpha of 40 leaves steps of 6 in what is premultiplied by it.
    assert abs(edge - colour).max() <= 7


def test_a_turned_cut_out_keeps_its_longer_side():
    for seed in range(5):
        rng = np.random.default_rng(seed)
        varied = vary_cut_out(block(60, 10), 50, 180, rng)
        opaque = np.asarray(varied)[..., 3] >= 128
        sides = [np.ptp(np.flatnonzero(opaque.any(axis=a))) for a in (0, 1)]
        # The blur takes a pixel or two off the corners.
        assert 46 <= max(sides) + 1 <= 51


def test_a_square_is_cut_at_the_size_or_larger():
    # The colour of a pixel tells where it is from.
    photo = Image.fromarray(
        np.dstack(
            [
                *np.meshgrid(np.arange(200), np.arange(120)),
                np.zeros((120, 200)),
            ]
        ).astype(np.uint8)
    )
    for seed in range(5):
        square = random_square(photo, 60, np.random.default_rng(seed))
        assert square.size == (60, 60)
        ys = np.asarray(square)[..., 1].astype(int)
        assert 58 <= ys[-1, 0] - ys[0, 0] <= 119


def test_reads_the_opaque_part(tmp_path):
    block(10, 6).save(tmp_path / 'block.png')
    assert read_cut_out(tmp_path / 'block.png').size == (10, 6)


def test_a_picture_that_is_no_cut_out_is_refused(tmp_path):
    Image.new('RGB', (9, 9)).save(tmp_path / 'opaque.png')
    with pytest.raises(ValueError, match=r'opaque\.png is not cut out'):
        read_cut_out(tmp_path / 'opaque.png')
