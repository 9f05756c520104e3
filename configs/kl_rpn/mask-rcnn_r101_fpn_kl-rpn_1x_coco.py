_base_ = 'mmdet::mask_rcnn/mask-rcnn_r101_fpn_1x_coco.py'
custom_imports = dict(imports=['mmdet_klrpn'], allow_failed_imports=False)
model = dict(rpn_head=dict(type='KLRPNHead'))
