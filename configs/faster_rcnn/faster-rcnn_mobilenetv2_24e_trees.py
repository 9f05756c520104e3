# The design of faster-rcnn_vgg16 in miniature: one map, at stride 16.
_base_ = 'faster-rcnn_mobilenetv2_fpn_24e_trees.py'

model = dict(
    backbone=dict(out_indices=(4, )),
    neck=None,
    rpn_head=dict(
        in_channels=96,
        feat_channels=96,
        # Crowns are 8 to 106 pixels wide, half of them 29 to 53.
        anchor_generator=dict(scales=[0.75, 1.5, 3, 4.5], strides=[16])),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=96, featmap_strides=[16]),
        bbox_head=dict(
            _delete_=True,
            type='VGGBBoxHead',
            in_channels=96,
            fc_out_channels=256,
            num_classes=1)))
