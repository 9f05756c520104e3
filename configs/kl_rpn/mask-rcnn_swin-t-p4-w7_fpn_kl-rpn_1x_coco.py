_base_ = 'mmdet::swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco.py'
custom_imports = dict(imports=['mmdet_klrpn'], allow_failed_imports=False)
model = dict(rpn_head=dict(type='KLRPNHead'))
