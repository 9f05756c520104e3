# Small enough to train on two CPU cores in minutes.
_base_ = 'mmdet::_base_/models/faster-rcnn_r50_fpn.py'
model = dict(
    backbone=dict(
        _delete_=True, type='MobileNetV2',
        out_indices=(2, 4, 6), frozen_stages=2, norm_eval=True,
        # Made by converters/mobilenetv2_to_mmdet.py.
        init_cfg=dict(type='Pretrained', checkpoint='data/mobilenetv2.pth')),
    neck=dict(in_channels=[32, 96, 320], out_channels=64, num_outs=3),
    rpn_head=dict(
        in_channels=64, feat_channels=64,
        anchor_generator=dict(ratios=[0.7, 1.0, 1.4], strides=[8, 16, 32])),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=64, featmap_strides=[8, 16, 32]),
        bbox_head=dict(in_channels=64, fc_out_channels=256)),
    train_cfg=dict(
        rpn_proposal=dict(nms_pre=1000, max_per_img=300),
        rcnn=dict(sampler=dict(num=128))),
    test_cfg=dict(rpn=dict(nms_pre=1000, max_per_img=300)))
# mmdet's MobileNetV2 freezes its stages after DDP has counted the parameters,
# and has a last convolution that nothing here reads.
find_unused_parameters = True
