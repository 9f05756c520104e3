_base_ = '../faster_rcnn/faster-rcnn_vgg16_1x_coco.py'
model = dict(rpn_head=dict(type='KLRPNHead'))
