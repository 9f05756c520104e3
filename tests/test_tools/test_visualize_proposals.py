"""Pictures of proposals from the command line."""

import sys

import cv2
import numpy as np
import pytest
import torch
from conftest import ROOT, load_checkpoint, load_tool, write_tiny_config
from mmdet.registry import MODELS
from mmengine.config import Config

RPN_CONFIG = (
    ROOT / 'configs/faster_rcnn/faster-rcnn_mobilenetv2_fpn_24e_trees.py'
)
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
        *('--top', 5, '--device', 'cpu', '-o', out),
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


def failure(call, capsys, *args):
    with pytest.raises(SystemExit):
        call(*args)
    return capsys.readouterr().err.splitlines()[-1]


def test_says_what_is_wrong_with_an_image(
    detector, call, tiny_data, tmp_path, capsys
):
    image = tiny_data / 'images' / '1.png'
    missing = tmp_path / 'missing.png'
    text = failure(call, capsys, *detector, image, missing, '-o', tmp_path)
    assert f'there is no image {missing}' in text
    broken = tmp_path / 'broken.png'
    broken.write_text('no image')
    text = failure(call, capsys, *detector, broken, '-o', tmp_path)
    assert f'{broken} is no image that can be read' in text
    twin = tmp_path / '1.png'
    twin.write_bytes(image.read_bytes())
    text = failure(call, capsys, *detector, image, twin, '-o', tmp_path)
    assert f'{image} and {twin} would both be drawn to 1.jpg' in text
    text = failure(call, capsys, *detector, image, '--top', 0, '-o', tmp_path)
    assert '--top must be at least 1, but got 0' in text


def test_says_what_is_wrong_with_a_model(
    detector, baseline, call, tiny_data, tmp_path, capsys
):
    image = tiny_data / 'images' / '1.png'
    rest = (image, '-o', tmp_path)
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
