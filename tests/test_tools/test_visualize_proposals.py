"""Pictures of proposals from the command line."""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from conftest import STUDY, load_checkpoint, load_tool, write_tiny_config
from mmdet.registry import MODELS
from mmengine.config import Config
from PIL import Image

RPN_CONFIG = STUDY / 'faster-rcnn_mobilenetv2_fpn_24e_trees.py'
TOOL = 'tools/analysis_tools/visualize_proposals.py'


def write_checkpoint(config, path):
    torch.manual_seed(0)
    model = MODELS.build(Config.fromfile(config).model)
    torch.save(dict(state_dict=model.state_dict()), path)
    return path


@pytest.fixture(scope='module')
def detector(tiny_config, tmp_path_factory):
    folder = tmp_path_factory.mktemp('detector')
    return tiny_config, write_checkpoint(tiny_config, folder / 'kl_rpn.pth')


@pytest.fixture(scope='module')
def baseline(tiny_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp('baseline')
    config = write_tiny_config(folder / 'tiny_rpn.py', tiny_data, RPN_CONFIG)
    return config, write_checkpoint(config, folder / 'rpn.pth')


@pytest.fixture
def call(monkeypatch):
    tool = load_tool(TOOL)

    def _call(*args):
        monkeypatch.setattr(sys, 'argv', [TOOL, *map(str, args)])
        tool.main()

    _call.tool = tool
    return _call


def test_draws_each_image(
    detector, baseline, call, tiny_data, tmp_path, capsys
):
    # The RPN of the one, without its second stage, beside the other's.
    config, checkpoint = tmp_path / 'rpn_alone.py', detector[1]
    config.write_text(f"_base_ = '{detector[0]}'\nmodel = dict(type='RPN')\n")
    # Another size than the network's input has.
    image = cv2.imread(str(tiny_data / 'images' / '1.png'))
    cv2.imwrite(str(tmp_path / 'large.png'), cv2.resize(image, (200, 300)))
    out = tmp_path / 'out'
    call(
        *(config, checkpoint, tmp_path / 'large.png'),
        *(tiny_data / 'images' / '2.png', '--baseline', *baseline),
        *('--top', 5, '--device', 'cpu', '--out', out),
    )
    pictures = sorted(out.iterdir())
    assert [path.name for path in pictures] == ['2.jpg', 'large.jpg']
    printed = capsys.readouterr().out.split()
    assert all(str(path) in printed for path in pictures)
    square, tall = (cv2.imread(str(path)) for path in pictures)
    assert square.shape[1] == tall.shape[1] == 856
    assert tall.shape[0] > 1.3 * square.shape[0]
    # Proposals of both at the top, maps below: no quarter is blank.
    for half in np.array_split(square, 2, axis=1):
        assert all(part.std() > 20 for part in np.array_split(half, 2))


def test_ground_truth_is_drawn_on_request(
    detector, call, tiny_data, tmp_path, monkeypatch
):
    drawn = []
    monkeypatch.setattr(call.tool, 'draw', lambda *args: drawn.append(args))
    images = [tiny_data / 'images' / f'{i}.png' for i in (2, 8)]
    rest = ('--device', 'cpu', '--out', tmp_path)
    call(*detector, *images, *rest)
    assert [args[-1] for args in drawn] == [None, None]
    call(*detector, *images, '--ground-truth', *rest)
    boxes, none = (args[-1] for args in drawn[2:])
    content = json.loads((tiny_data / 'annotations.json').read_text())
    own = [x['bbox'] for x in content['annotations'] if x['image_id'] == 2]
    expected = [[x, y, x + w, y + h] for x, y, w, h in own]
    assert boxes.tolist() == expected
    assert none.shape == (0, 4)
    other = write_image(tmp_path / 'images' / '1.png')
    with pytest.raises(SystemExit, match=r'1.png is not an image of test_dat'):
        call(*detector, other, '--ground-truth', *rest)


def failure(call, capsys, *args):
    with pytest.raises(SystemExit) as exit_:
        call(*args)
    return exit_.value.code


def test_says_what_is_wrong_with_an_image(
    detector, call, tiny_data, tmp_path, capsys
):
    image = tiny_data / 'images' / '1.png'
    missing = tmp_path / 'missing.png'
    text = failure(call, capsys, *detector, image, missing, '--out', tmp_path)
    assert f'there is no image {missing}' in text
    broken = tmp_path / 'broken.png'
    broken.write_text('no image')
    text = failure(call, capsys, *detector, broken, '--out', tmp_path)
    assert f'{broken} is no image that can be read' in text
    broken.write_bytes(b'')
    text = failure(call, capsys, *detector, broken, '--out', tmp_path)
    assert f'{broken} is no image that can be read' in text
    text = failure(
        call, capsys, *detector, image, '--top', 0, '--out', tmp_path
    )
    assert '--top must be at least 1, but got 0' in text


def write_image(path, height=40, width=60, exif=None):
    path.parent.mkdir(exist_ok=True)
    image = np.full((height, width, 3), (200, 120, 60), np.uint8)
    Image.fromarray(image).save(path, **(dict(exif=exif) if exif else {}))
    return path


def test_no_picture_overwrites_another(detector, call, tmp_path, capsys):
    names = ['a/1.jpg', 'b/1.jpg', 'b/1.png', 'c/2.png', 'c/3 %s.png']
    images = [write_image(tmp_path / name) for name in names]
    spelt = tmp_path / 'b' / '..' / 'c' / '2.png'  # once more
    out = tmp_path / 'out'
    call(*detector, *images, spelt, '--device', 'cpu', '--out', out)
    assert sorted(path.name for path in out.iterdir()) == [
        *('1.png.jpg', '2.jpg', '3__s.jpg', 'a_1.jpg.jpg', 'b_1.jpg.jpg')
    ]
    printed = capsys.readouterr().out
    assert all(str(path) in printed for path in out.iterdir())


def test_no_picture_overwrites_an_image(
    detector, call, tmp_path, capsys, monkeypatch
):
    image = write_image(tmp_path / 'images' / '1.jpg')
    other = write_image(tmp_path / 'images' / '1.png')
    link = tmp_path / 'links' / '1.jpg'
    link.parent.mkdir()
    link.symlink_to(image)
    before = image.read_bytes()
    monkeypatch.chdir(image.parent)
    for given, out in (
        (image, image.parent),
        (other, image.parent),  # its picture would be called 1.jpg
        ('1.png', '.'),
        (link, image.parent),
        (link, link.parent),
    ):
        text = failure(call, capsys, *detector, given, '--out', out)
        picture = Path(out) / '1.jpg'
        assert f'the picture {picture} would overwrite a file' in text
    assert image.read_bytes() == before
    assert len(list(image.parent.iterdir())) == 2
    # Beside an image that has another name, it overwrites nothing.
    image.rename(image.with_name('2.jpg'))
    call(*detector, other, '--device', 'cpu', '--out', image.parent)
    assert sorted(path.name for path in image.parent.iterdir()) == [
        *('1.jpg', '1.png', '2.jpg')
    ]


@pytest.mark.parametrize('shape', [(1, 1), (20, 4000), (4000, 20)])
def test_draws_any_size(detector, call, tmp_path, shape):
    image = write_image(tmp_path / 'images' / 'image.png', *shape)
    call(*detector, image, '--device', 'cpu', '--out', tmp_path / 'out')
    picture = cv2.imread(str(tmp_path / 'out' / 'image.jpg'))
    assert picture.shape[1] == 856
    assert picture.std() > 20


def test_detectors_that_see_other_images_are_not_drawn_as_one(
    detector, baseline, call, tmp_path, capsys
):
    exif = Image.Exif()
    exif[274] = 6  # to be turned
    image = write_image(tmp_path / 'images' / 'turned.jpg', exif=exif)
    config = tmp_path / 'ignores_orientation.py'
    config.write_text(
        f"_base_ = '{baseline[0]}'\n"
        'test_dataloader = dict(dataset=dict(pipeline=[\n'
        "    dict(type='LoadImageFromFile',\n"
        "         color_type='color_ignore_orientation'),\n"
        "    dict(type='Resize', scale=(96, 96), keep_ratio=True),\n"
        "    dict(type='PackDetInputs')]))\n"
    )
    out = ('--device', 'cpu', '--out', tmp_path / 'out')
    other = ('--baseline', config, baseline[1])
    text = failure(call, capsys, *detector, image, *other, *out)
    assert '(40, 60) and (60, 40)' in text
    call(config, baseline[1], image, *out)
    assert (tmp_path / 'out' / 'turned.jpg').exists()


def test_models_of_one_file_name_have_their_own(detector, tmp_path):
    config, checkpoint = detector
    twin = tmp_path / config.name
    twin.write_text(f"_base_ = '{config}'\n")
    tool = load_tool(TOOL)
    configs = map(Config.fromfile, (config, twin))
    sources = [(each, str(checkpoint)) for each in configs]
    (first, _), (second, _) = tool.load_models(sources, 'cpu')
    assert first == f'{config.parent.name}_{config.name}'
    assert second == f'{tmp_path.name}_{config.name}'


def test_says_what_is_wrong_with_a_model(
    detector, baseline, call, tiny_data, tmp_path, capsys
):
    image = tiny_data / 'images' / '1.png'
    rest = (image, '--out', tmp_path)
    config, checkpoint = detector
    text = failure(call, capsys, config, tmp_path / 'no.pth', *rest)
    assert 'no.pth' in text

    state = load_checkpoint(checkpoint)['state_dict']
    del state['rpn_head.rpn_cls.weight']
    torch.save(state, tmp_path / 'partly.pth')
    text = failure(call, capsys, config, tmp_path / 'partly.pth', *rest)
    assert 'partly.pth does not fit' in text
    assert 'it lacks rpn_head.rpn_cls.weight' in text

    text = failure(call, capsys, baseline[0], checkpoint, *rest)
    assert 'its rpn_head was trained as KLRPNHead, but the config has' in text
    assert 'give the config that it was trained with' in text

    one_stage = 'mmdet::retinanet/retinanet_r18_fpn_1x_coco.py'
    single = tmp_path / 'retinanet.py'
    single.write_text(f"_base_ = '{one_stage}'\n")
    model = write_weights(single, tmp_path / 'retinanet.pth')
    text = failure(call, capsys, single, model, *rest)
    assert 'a RetinaNet proposes no regions' in text


def write_weights(config, path):
    model = MODELS.build(dict(Config.fromfile(config).model, _scope_='mmdet'))
    torch.save(model.state_dict(), path)
    return path
