_base_ = '../rfcn/rfcn_mobilenetv2_24e_trees.py'
model = dict(rpn_head=dict(type='KLRPNHead'))
