# mmdet's Cascade RPN in miniature. NMS and the second stage are those of the
# other heads, and not tuned to this one.
_base_ = 'faster-rcnn_mobilenetv2_fpn_8e_stamps.py'
from mmengine.hub import get_config
theirs = get_config(
    'mmdet::cascade_rpn/cascade-rpn_faster-rcnn_r50-caffe_fpn_1x_coco.py'
).to_dict()['model']
head = dict(theirs['rpn_head'], _delete_=True)
for stage in head['stages']:
    stage.update(in_channels=64, feat_channels=64)
# Halfway between the two scales of the other heads.
head['stages'][0]['anchor_generator'].update(scales=[2.5], strides=[8, 16, 32])
model = dict(rpn_head=head, train_cfg=dict(rpn=theirs['train_cfg']['rpn']))
del theirs, head, stage
