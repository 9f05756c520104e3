# Of the same weights: the score of a detection is that of both stages.
_base_ = 'faster-rcnn_r50_fpn_kl-rpn_1x_coco.py'
model = dict(roi_head=dict(type='ObjectnessRoIHead'))
