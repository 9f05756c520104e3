# R-FCN of Dai et al.: conv4 of ResNet-101 at stride 16 for the RPN, conv5
# dilated and convolutional over the whole map for the RoI head.
_base_ = 'mmdet::_base_/models/faster-rcnn_r50-caffe-c4.py'
custom_imports = dict(imports=['mmdet_klrpn'], allow_failed_imports=False)
pretrained = 'open-mmlab://detectron2/resnet101_caffe'

model = dict(
    backbone=dict(
        depth=101, init_cfg=dict(type='Pretrained', checkpoint=pretrained)),
    rpn_head=dict(
        feat_channels=512, anchor_generator=dict(scales=[4, 8, 16, 32])),
    roi_head=dict(
        type='RFCNRoIHead',
        shared_head=dict(
            depth=101,
            stride=1,
            dilation=2,
            init_cfg=dict(type='Pretrained', checkpoint=pretrained)),
        bbox_roi_extractor=dict(
            _delete_=True,
            type='PSRoIExtractor',
            roi_layer=dict(type='PSRoIPool', output_size=7),
            featmap_stride=16),
        bbox_head=dict(
            _delete_=True,
            type='RFCNBBoxHead',
            in_channels=2048,
            conv_out_channels=1024,
            roi_feat_size=7,
            num_classes=80)),
    train_cfg=dict(rcnn=dict(sampler=dict(num=128))),
    # The paper keeps 300 proposals, and 0.3 in its NMS.
    test_cfg=dict(
        rpn=dict(max_per_img=300),
        rcnn=dict(nms=dict(iou_threshold=0.3))))
