_base_ = '../../projects/kl_rpn_study/configs/rfcn_mobilenetv2_8e_stamps.py'
model = dict(rpn_head=dict(type='KLRPNHead'))
