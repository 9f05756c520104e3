"""A KLRPNHead is refused where it would be a head of another kind."""

import pytest
from mmdet.models.detectors import RPN
from mmengine.config import Config

from mmdet_klrpn.apis import load_detector
from mmdet_klrpn.apis.head_places import check_head_places
from mmdet_klrpn.engine import CheckpointRunner
from mmdet_klrpn.models import KLRPNHead
from mmdet_klrpn.utils.conversion import resolve_config

HEAD = dict(type='KLRPNHead', in_channels=8)


@pytest.mark.parametrize(
    ('name', 'place'),
    [
        (
            'cascade-rpn_faster-rcnn_r50-caffe_fpn_1x_coco.py',
            'rpn_head.stages.1',
        ),
        ('retinanet_r50_fpn_1x_coco.py', 'bbox_head'),
        ('faster-rcnn_r50_fpn_1x_coco.py', 'roi_head.bbox_head'),
        ('cascade-rcnn_r50_fpn_1x_coco.py', 'roi_head.bbox_head.2'),
    ],
)
def test_other_places_are_named(name, place, tmp_path):
    config = Config.fromfile(resolve_config(name))
    check_head_places(config.model)
    config.merge_from_dict({f'model.{place}.type': 'mmdet.KLRPNHead'})
    message = rf'^model.{place}.type is KLRPNHead, which proposes regions'
    with pytest.raises(ValueError, match=message):
        load_detector(config, None)
    config.work_dir = str(tmp_path)
    with pytest.raises(ValueError, match=message):
        CheckpointRunner.from_cfg(config)


@pytest.mark.parametrize(
    'model',
    [
        dict(type='FasterRCNN', rpn_head=HEAD),
        dict(type='FasterRCNN', rpn_head=dict(HEAD, type=KLRPNHead)),
        dict(type='SoftTeacher', detector=dict(rpn_head=HEAD)),
        dict(type='RPN', bbox_head=HEAD),
        dict(type=RPN, bbox_head=HEAD),
        dict(type='FasterRCNN', roi_head=dict(bbox_head=[dict(), None])),
        KLRPNHead,
    ],
)
def test_its_own_places_are_accepted(model):
    check_head_places(model)
