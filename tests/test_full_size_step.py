"""A training step of the paper's detectors, and what they weigh."""

import sys

import architectures
import full_size_step
import pytest
from conftest import ROOT


@pytest.mark.slow
@pytest.mark.parametrize(
    ('config', 'total'),
    [
        ('faster_rcnn/faster-rcnn_vgg16_1x_coco.py', '138,294,029'),
        ('kl_rpn/rfcn_r101-caffe_ohem_kl-rpn_1x_coco.py', '53,617,345'),
    ],
)
def test_detectors_weigh_what_their_architectures_imply(
    config, total, monkeypatch, capsys
):
    words = ['', str(ROOT / 'configs' / config), '--shape', '96', '128']
    monkeypatch.setattr(sys, 'argv', words)
    full_size_step.main()
    text = ''.join(capsys.readouterr().out.split())
    assert 'DIFFERENT' not in text
    assert f'|sum|{total}|{total}|' in text
    assert 'nan' not in text


def test_a_difference_is_pointed_out():
    weights = dict(RPN=(1000, 10**9), fc6=(1, 0))
    text = full_size_step.format_table(weights, dict(weights, fc6=(1, 10**9)))
    lines = [''.join(line.split()) for line in text.splitlines()]
    assert lines[2:] == [
        '|RPN|1,000|1,000|1.00|1.00||',
        '|fc6|1|1|0.00|1.00|DIFFERENT|',
        '|sum|1,001|1,001|1.00|2.00|DIFFERENT|',
    ]


def test_vgg16_weighs_what_others_have_published():
    parameters, macs = architectures.vgg16(224, 224)
    # torchvision: 138,357,544 with the classifier of 123,642,856.
    assert parameters == 138_357_544 - 123_642_856
    # He et al. 2015, of the whole network: 15.3e9, of which fc6-fc8 0.12e9.
    assert macs == pytest.approx(15.35e9, rel=1e-3)


def test_resnet101_weighs_what_others_have_published():
    body = architectures.resnet101_c4(224, 224)
    last = architectures.res_stage(5, 3, 7 * 7, 1024)
    # torchvision: 44,549,160 with the last layer of 2,049,000.
    assert body[0] + last[0] == 44_549_160 - 2_049_000
    # He et al. 2015: 7.6e9, with strides in the first 1x1 as here.
    assert body[1] + last[1] == pytest.approx(7.6e9, rel=0.01)


def test_only_faster_rcnn_pays_for_each_region():
    few, many = (
        architectures.faster_rcnn_vgg16(800, 1344, 80, 12, 0, rois)
        for rois in (300, 1000)
    )
    assert sum(part[0] for part in few.values()) == 138_294_029
    for part in ('fc6', 'fc7', 'predictors'):
        assert many[part][1] * 300 == few[part][1] * 1000
    assert few['RPN'] == many['RPN']


def test_kl_rpn_adds_three_outputs_an_anchor():
    rpn, kl_rpn = (architectures.rpn(512, 12, stds, 10) for stds in (0, 4))
    assert kl_rpn[0] - rpn[0] == 12 * 3 * (512 + 1)
