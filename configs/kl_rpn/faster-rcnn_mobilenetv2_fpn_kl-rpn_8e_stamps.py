_base_ = '../faster_rcnn/faster-rcnn_mobilenetv2_fpn_8e_stamps.py'
custom_imports = dict(imports=['mmdet_klrpn'], allow_failed_imports=False)
model = dict(rpn_head=dict(type='KLRPNHead'))
