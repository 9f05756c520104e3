_base_ = [
    '../_base_/models/rfcn_r101-caffe.py',
    'mmdet::_base_/datasets/coco_detection.py',
    'mmdet::_base_/schedules/schedule_1x.py',
    'mmdet::_base_/default_runtime.py',
]
optim_wrapper = dict(clip_grad=dict(max_norm=10))
