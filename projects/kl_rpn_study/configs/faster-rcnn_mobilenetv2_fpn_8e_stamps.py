_base_ = ['_base_/faster-rcnn_mobilenetv2_fpn.py', '_base_/stamps.py']
model = dict(
    # From fruit of 12 pixels to mammals of 140.
    rpn_head=dict(anchor_generator=dict(scales=[2, 3.2])),
    roi_head=dict(bbox_head=dict(num_classes=6)))
