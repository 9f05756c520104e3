_base_ = 'mmdet::pascal_voc/faster-rcnn_r50_fpn_1x_voc0712.py'
custom_imports = dict(imports=['mmdet_klrpn'], allow_failed_imports=False)
model = dict(rpn_head=dict(type='KLRPNHead'))
