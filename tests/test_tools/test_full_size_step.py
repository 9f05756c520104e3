"""A training step of the paper's detectors, and what they weigh."""

import sys

import pytest
from conftest import run


@pytest.mark.slow
@pytest.mark.parametrize(
    ('config', 'total'),
    [
        ('faster_rcnn/faster-rcnn_vgg16_1x_coco.py', '138,294,029'),
        ('kl_rpn/rfcn_r101-caffe_ohem_kl-rpn_1x_coco.py', '53,617,345'),
    ],
)
def test_detectors_weigh_what_their_architectures_imply(config, total):
    text = run(
        *(sys.executable, 'tools/analysis_tools/full_size_step.py'),
        *(f'configs/{config}', '--shape', '96', '128'),
    )
    assert 'DIFFERENT' not in text
    assert f'| sum | {total} | {total} |' in text
    assert 'nan' not in text
