"""R-FCN learns a handful of images by heart."""

import json
import sys

import pytest
from conftest import STUDY, run, write_tiny_config, write_tiny_data

BASE = STUDY / 'rfcn_mobilenetv2_24e_trees.py'
# A backbone of 64 channels at stride 16, to be trained from nothing.
OVERRIDES = """
model['backbone'] = dict(
    _delete_=True, type='ResNet', depth=18, base_channels=16, num_stages=3,
    strides=(1, 2, 2), dilations=(1, 1, 1), out_indices=(2, ),
    norm_cfg=dict(type='GN', num_groups=8, requires_grad=True))
model['rpn_head'] = dict(
    in_channels=64,
    anchor_generator=dict(scales=[3, 4, 5], ratios=[1.0]))
# An image has two objects: more RoIs would be background.
model['train_cfg'] = dict(rcnn=dict(sampler=dict(num=16)))
model['roi_head'] = dict(
    bbox_head=dict(in_channels=64, conv_out_channels=128))
load = dict(type='LoadImageFromFile')
boxes = dict(type='LoadAnnotations', with_bbox=True)
resize = dict(type='Resize', scale=(256, 256))
pack = dict(
    type='PackDetInputs',
    meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape',
               'scale_factor'))
train_dataloader['dataset']['pipeline'] = [load, boxes, resize, pack]
val_dataloader['dataset']['pipeline'] = [load, resize, boxes, pack]
train_cfg = dict(max_epochs=300, val_interval=300)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, end=20),
    dict(type='CosineAnnealingLR', eta_min=0, T_max=300,
         convert_to_iter_based=True)]
optim_wrapper = dict(optimizer=dict(lr=2e-3))
default_hooks = dict(checkpoint=dict(interval=300))
"""


@pytest.mark.slow
def test_overfits_four_images(tmp_path):
    # x, y and side of two objects an image, of several sizes, apart.
    squares = [
        [(4, 8, 30), (50, 40, 40)],
        [(10, 50, 36), (60, 10, 28)],
        [(2, 30, 40), (56, 56, 32)],
        [(30, 2, 38), (20, 60, 26)],
    ]
    write_tiny_data(tmp_path, squares)
    config = write_tiny_config(tmp_path / 'overfit.py', tmp_path, BASE)
    text = config.read_text().replace(
        'model = dict(backbone=dict(init_cfg=None))', 'model = dict()'
    )
    config.write_text(text + OVERRIDES)
    work_dir = tmp_path / 'work_dir'
    run(sys.executable, 'tools/train.py', config, '--work-dir', work_dir)
    (log,) = work_dir.glob('*/vis_data/scalars.json')
    last = json.loads(log.read_text().splitlines()[-1])
    assert last['coco/bbox_mAP'] > 0.9
