_base_ = ['_base_/faster-rcnn_mobilenetv2_fpn.py', '_base_/trees.py']
model = dict(
    # Crowns are 8 to 106 pixels wide, half of them 29 to 53.
    rpn_head=dict(anchor_generator=dict(scales=[2.5, 3.5])),
    roi_head=dict(bbox_head=dict(num_classes=1)))
