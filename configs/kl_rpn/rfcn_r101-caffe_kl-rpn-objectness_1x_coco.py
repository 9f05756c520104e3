# Same weights: a detection's score combines both stages.
_base_ = 'rfcn_r101-caffe_kl-rpn_1x_coco.py'
model = dict(roi_head=dict(objectness_power=1.0))
