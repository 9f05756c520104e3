"""Detectors of other kinds than a pyramid's, with a second look."""

import pytest
import sweep
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmdet_klrpn.utils.conversion import find_rpn_head, resolve_config


@pytest.mark.slow
@pytest.mark.parametrize(
    'name',
    [
        'faster-rcnn_r50-caffe-dc5_1x_coco.py',
        'rfcn_r101-caffe_1x_coco.py',
        'soft-teacher_faster-rcnn_r50-caffe_fpn_180k_semi-0.1-coco.py',
    ],
)
def test_trains_every_weight_and_predicts(name):
    init_default_scope('mmdet')
    config = Config.fromfile(resolve_config(name))
    head = dict(type='KLRPNHead', second_look=dict(num=50))
    config.merge_from_dict({'.'.join(find_rpn_head(config)): head})
    model = sweep.build(config.model.to_dict())
    for objects in (1, 0):
        assert not sweep.train(model, objects)  # names without a gradient
    sweep.predict(model)
