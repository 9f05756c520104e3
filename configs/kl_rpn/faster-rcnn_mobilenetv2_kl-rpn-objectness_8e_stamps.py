# Of the same weights: the score of a detection is that of both stages.
_base_ = 'faster-rcnn_mobilenetv2_kl-rpn_8e_stamps.py'
model = dict(roi_head=dict(type='ObjectnessRoIHead'))
