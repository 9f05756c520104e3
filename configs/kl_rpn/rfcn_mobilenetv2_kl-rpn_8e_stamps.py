_base_ = '../rfcn/rfcn_mobilenetv2_8e_stamps.py'
model = dict(rpn_head=dict(type='KLRPNHead'))
