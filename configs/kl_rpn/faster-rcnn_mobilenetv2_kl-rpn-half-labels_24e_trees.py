_base_ = '../faster_rcnn/faster-rcnn_mobilenetv2_half-labels_24e_trees.py'
model = dict(rpn_head=dict(type='KLRPNHead'))
