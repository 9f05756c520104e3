_base_ = [
    '../_base_/models/rfcn_r101-caffe.py',
    'mmdet::_base_/datasets/voc0712.py',
    '../_base_/schedules/schedule_1x_voc0712.py',
    'mmdet::_base_/default_runtime.py',
]
model = dict(
    rpn_head=dict(anchor_generator=dict(scales=[8, 16, 32])),
    roi_head=dict(bbox_head=dict(num_classes=20)))
optim_wrapper = dict(clip_grad=dict(max_norm=10))
