"""What is implied, against figures that others have published."""

import pytest
from conftest import load_tool

architectures = load_tool('tools/analysis_tools/architectures.py')


def test_vgg16():
    parameters, macs = architectures.vgg16(224, 224)
    # torchvision: 138,357,544 with the classifier of 123,642,856.
    assert parameters == 138_357_544 - 123_642_856
    # He et al. 2015, of the whole network: 15.3e9, of which fc6-fc8 0.12e9.
    assert macs == pytest.approx(15.35e9, rel=1e-3)


def test_resnet101():
    body = architectures.resnet101_c4(224, 224)
    last = architectures.res_stage(5, 3, 7 * 7, 1024)
    # torchvision: 44,549,160 with the last layer of 2,049,000.
    assert body[0] + last[0] == 44_549_160 - 2_049_000
    # He et al. 2015: 7.6e9, with strides in the first 1x1 as here.
    assert body[1] + last[1] == pytest.approx(7.6e9, rel=0.01)


def test_faster_rcnn_vgg16_has_138_million():
    parts = architectures.faster_rcnn_vgg16(800, 1344, 80, 12, 0, 300)
    assert sum(part[0] for part in parts.values()) == 138_294_029
    assert parts['fc6'][0] == 4096 * (512 * 7 * 7) + 4096


def test_only_faster_rcnn_pays_for_each_region():
    few, many = (
        architectures.faster_rcnn_vgg16(800, 1344, 80, 12, 0, rois)
        for rois in (300, 1000)
    )
    for part in ('fc6', 'fc7', 'predictors'):
        assert many[part][1] * 300 == few[part][1] * 1000
    assert few['RPN'] == many['RPN']


def test_kl_rpn_adds_three_outputs_an_anchor():
    rpn, kl_rpn = (architectures.rpn(512, 12, stds, 10) for stds in (0, 4))
    assert kl_rpn[0] - rpn[0] == 12 * 3 * (512 + 1)
