_base_ = ['_base_/faster-rcnn_mobilenetv2.py', '_base_/aquarium.py']
model = dict(
    # The roots of the boxes' areas are 10 to 123 pixels for nine in ten, and
    # 310 at most; their heights are 0.4 to 2.3 times their widths.
    rpn_head=dict(anchor_generator=dict(
        scales=[1, 2, 4, 8, 16], ratios=[0.5, 1.0, 2.0])),
    roi_head=dict(bbox_head=dict(num_classes=7)))
