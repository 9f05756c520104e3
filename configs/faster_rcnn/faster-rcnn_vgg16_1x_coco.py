_base_ = [
    '../_base_/models/faster-rcnn_vgg16.py',
    'mmdet::_base_/datasets/coco_detection.py',
    'mmdet::_base_/schedules/schedule_1x.py',
    'mmdet::_base_/default_runtime.py',
]
# VGG has no normalisation: half a ResNet's learning rate, and a clip.
optim_wrapper = dict(
    optimizer=dict(lr=0.01, weight_decay=0.0005),
    clip_grad=dict(max_norm=10))
