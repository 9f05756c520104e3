_base_ = 'mmdet::faster_rcnn/faster-rcnn_r50-caffe-dc5_1x_coco.py'
custom_imports = dict(imports=['mmdet_klrpn'], allow_failed_imports=False)
model = dict(rpn_head=dict(type='KLRPNHead'))
