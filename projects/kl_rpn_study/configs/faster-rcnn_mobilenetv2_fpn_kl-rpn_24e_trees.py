_base_ = 'faster-rcnn_mobilenetv2_fpn_24e_trees.py'
model = dict(rpn_head=dict(type='KLRPNHead'))
