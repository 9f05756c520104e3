# The second look pools features at the best boxes and predicts again.
_base_ = 'faster-rcnn_r50_fpn_kl-rpn_1x_coco.py'
model = dict(rpn_head=dict(second_look=dict(num=1000, power=0.2)))
