_base_ = '../../projects/kl_rpn_study/configs/rfcn_mobilenetv2_24e_trees.py'
model = dict(rpn_head=dict(type='KLRPNHead'))
