_base_ = ['_base_/rfcn_mobilenetv2.py', '_base_/stamps.py']
model = dict(
    # From fruit of 12 pixels to mammals of 140.
    rpn_head=dict(anchor_generator=dict(scales=[1, 2, 4, 7])),
    roi_head=dict(bbox_head=dict(num_classes=6)))
