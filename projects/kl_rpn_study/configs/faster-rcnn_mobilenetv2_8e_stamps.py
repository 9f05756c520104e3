_base_ = [
    '../_base_/models/faster-rcnn_mobilenetv2.py',
    '../_base_/datasets/stamps_detection.py',
    '../_base_/schedules/schedule_8e_adamw.py',
    '../_base_/default_runtime.py',
]

model = dict(
    # From fruit of 12 pixels to mammals of 140.
    rpn_head=dict(anchor_generator=dict(scales=[1, 2, 4, 7])),
    roi_head=dict(bbox_head=dict(num_classes=6)))
