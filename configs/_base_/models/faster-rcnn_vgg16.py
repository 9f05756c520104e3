# Faster R-CNN of Ren et al. on a single map, conv5_3 of VGG-16 at stride 16.
# RoIAlign stands in for RoIPool, as everywhere in mmdet.
_base_ = 'mmdet::_base_/models/faster-rcnn_r50-caffe-c4.py'
custom_imports = dict(imports=['mmdet_klrpn'], allow_failed_imports=False)
# A name or a file in torchvision's layout: convolutions, fc6 and fc7.
pretrained = 'torchvision://vgg16'

model = dict(
    data_preprocessor=dict(
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True),
    backbone=dict(
        _delete_=True,
        type='VGG',
        depth=16,
        frozen_stages=2,
        init_cfg=dict(type='Pretrained', checkpoint=pretrained)),
    rpn_head=dict(
        in_channels=512,
        feat_channels=512,
        anchor_generator=dict(scales=[4, 8, 16, 32])),
    roi_head=dict(
        shared_head=None,
        bbox_roi_extractor=dict(
            roi_layer=dict(output_size=7), out_channels=512),
        bbox_head=dict(
            _delete_=True,
            type='VGGBBoxHead',
            num_classes=80,
            init_cfg=dict(
                type='Pretrained', checkpoint=pretrained,
                prefix='classifier'))),
    # The original samples 128 RoIs in training and keeps 300 in testing.
    train_cfg=dict(rcnn=dict(sampler=dict(num=128))),
    test_cfg=dict(rpn=dict(max_per_img=300)))
