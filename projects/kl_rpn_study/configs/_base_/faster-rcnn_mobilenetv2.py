# The design of faster-rcnn_vgg16 in miniature: one map, at stride 16.
_base_ = 'faster-rcnn_mobilenetv2_fpn.py'

model = dict(
    backbone=dict(out_indices=(4, )),
    neck=None,
    rpn_head=dict(
        in_channels=96, feat_channels=96, anchor_generator=dict(strides=[16])),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=96, featmap_strides=[16]),
        bbox_head=dict(_delete_=True, type='VGGBBoxHead', in_channels=96,
                       fc_out_channels=256)))
