_base_ = '../faster_rcnn/faster-rcnn_mobilenetv2_half-labels_8e_stamps.py'
model = dict(rpn_head=dict(type='KLRPNHead'))
