# Same weights: a detection's score combines both stages.
_base_ = 'faster-rcnn_vgg16_kl-rpn_1x_coco.py'
model = dict(roi_head=dict(type='ObjectnessRoIHead'))
