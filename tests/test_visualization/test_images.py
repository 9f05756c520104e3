"""Images as detectors see them, in the frame of the original."""

import cv2
import numpy as np
import pytest
import torch
from mmcv.transforms import Compose
from mmdet.structures import DetDataSample
from PIL import Image

from mmdet_klrpn.visualization import seen_image

RED = (0, 0, 255)  # as OpenCV orders channels


def sample(shape, scale=(1.0, 1.0)):
    return DetDataSample(metainfo=dict(ori_shape=shape, scale_factor=scale))


def picture(height=20, width=30):
    """Black, its upper left corner red."""
    image = np.zeros((height, width, 3), np.uint8)
    image[: height // 2, : width // 2] = RED
    return image


def tensor(image):
    return torch.from_numpy(image).permute(2, 0, 1)


def assert_red_corner(image, tolerance=0):
    corners = image[[1, 1, -2, -2], [1, -2, 1, -2]].astype(int)
    expected = np.array([(255, 0, 0), *[(0, 0, 0)] * 3])
    assert np.abs(corners - expected).max() <= tolerance


def test_the_original_is_shown_as_it_is():
    image = seen_image(tensor(picture()), sample((20, 30)))
    np.testing.assert_array_equal(image, picture()[..., ::-1])
    assert image.dtype == np.uint8


def test_a_resized_and_padded_input_is_shown_in_the_original_frame():
    resized = cv2.resize(picture(), (60, 50))
    padded = np.full((64, 96, 3), 77, np.uint8)
    padded[:50, :60] = resized
    image = seen_image(tensor(padded), sample((20, 30), (2.0, 2.5)))
    assert image.shape == (20, 30, 3)
    assert_red_corner(image)


@pytest.mark.parametrize(
    'convert',
    [
        lambda image: image.astype(np.float32),
        lambda image: image.astype(np.float32) / 255 - 3,
        lambda image: (image.astype(np.int32) * 200),  # of 16 bits
    ],
)
def test_other_numbers_are_spread_over_those_of_a_picture(convert):
    assert_red_corner(seen_image(tensor(convert(picture())), sample((20, 30))))


def test_numbers_that_are_none_do_not_hide_the_others():
    image = picture().astype(np.float32)
    image[10, 15] = (np.nan, np.inf, -np.inf)
    assert_red_corner(seen_image(tensor(image), sample((20, 30))))
    image = np.full((4, 4, 3), np.nan, np.float32)
    assert not seen_image(tensor(image), sample((4, 4))).any()


@pytest.mark.parametrize('channels', [1, 2, 4, 9])
def test_any_number_of_channels_is_shown(channels):
    image = np.zeros((20, 30, channels), np.uint8)
    image[..., : min(channels, 3)] = picture()[..., 2:]
    shown = seen_image(tensor(image), sample((20, 30)))
    assert shown.shape == (20, 30, 3)
    np.testing.assert_array_equal(shown, np.repeat(picture()[..., 2:], 3, 2))


def test_a_single_pixel_that_was_shrunk_to_nothing():
    shown = seen_image(tensor(picture(1, 1)), sample((1, 40), (0.01, 0.01)))
    assert shown.shape == (1, 40, 3)


def load(path, **options):
    steps = [
        dict(type='LoadImageFromFile', **options),
        dict(type='mmdet.Resize', scale=(60, 60), keep_ratio=True),
        dict(type='mmdet.PackDetInputs'),
    ]
    data = Compose(steps)(dict(img_path=str(path), img_id=0))
    return seen_image(data['inputs'], data['data_samples'])


def test_the_orientation_is_that_of_the_pipeline(tmp_path):
    path = tmp_path / 'turned.jpg'
    exif = Image.Exif()
    exif[274] = 6  # to be turned by 90 degrees clockwise
    turned = np.ascontiguousarray(np.rot90(picture()[..., ::-1]))
    Image.fromarray(turned).save(path, exif=exif, quality=95)
    upright = load(path)
    assert upright.shape == (20, 30, 3)
    assert_red_corner(upright, tolerance=40)
    stored = load(path, color_type='color_ignore_orientation')
    assert stored.shape == (30, 20, 3)
    assert_red_corner(np.rot90(stored, -1), tolerance=40)


@pytest.mark.parametrize('kind', ['L', 'LA', 'RGBA', 'P', '1', 'I;16'])
@pytest.mark.parametrize('flag', ['color', 'unchanged'])
def test_any_kind_of_file_is_shown_in_its_frame(kind, flag, tmp_path):
    path = tmp_path / 'image.png'
    grey = np.zeros((20, 30), np.uint8)
    grey[:10, :15] = 255
    if kind == 'I;16':
        Image.fromarray(grey.astype(np.uint16) * 257).save(path)
    else:
        Image.fromarray(grey).convert(kind).save(path)
    try:
        shown = load(path, color_type=flag)
    except TypeError:  # torch 2.1 has no 16 unsigned bits
        assert (kind, flag) == ('I;16', 'unchanged')
        shown = load(path, color_type=flag, to_float32=True)
    assert shown.shape == (20, 30, 3)
    assert (shown[[1, 1, -2, -2], [1, -2, 1, -2], 0] > 128).tolist() == [
        *(True, False, False, False)
    ]
