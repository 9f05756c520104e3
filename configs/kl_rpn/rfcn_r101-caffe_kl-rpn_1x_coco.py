_base_ = '../rfcn/rfcn_r101-caffe_1x_coco.py'
model = dict(rpn_head=dict(type='KLRPNHead'))
