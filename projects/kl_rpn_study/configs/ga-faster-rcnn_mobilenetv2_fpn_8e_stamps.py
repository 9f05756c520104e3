# mmdet's GA-RPN in miniature. The second stage is that of the other heads, and
# not tuned to this one.
_base_ = 'faster-rcnn_mobilenetv2_fpn_8e_stamps.py'
from mmengine.hub import get_config
theirs = get_config(
    'mmdet::guided_anchoring/ga-faster-rcnn_r50-caffe_fpn_1x_coco.py'
).to_dict()['model']
head = dict(
    theirs['rpn_head'], _delete_=True, in_channels=64, feat_channels=64)
# Scales of 2, 2.5 and 3.2: those of the other heads, and between.
head['approx_anchor_generator'].update(
    octave_base_scale=2, ratios=[0.7, 1.0, 1.4], strides=[8, 16, 32])
head['square_anchor_generator'].update(scales=[2], strides=[8, 16, 32])
model = dict(
    rpn_head=head,
    train_cfg=dict(
        rpn=theirs['train_cfg']['rpn'], rpn_proposal=dict(nms_post=300)),
    test_cfg=dict(rpn=dict(nms_post=300)))
del theirs, head
