# mmdet's cascade-rpn_faster-rcnn_r50-caffe_fpn in miniature. NMS and the second
# stage are those of the other heads, and not tuned to this one.
_base_ = 'faster-rcnn_mobilenetv2_fpn_8e_stamps.py'
stage = dict(type='StageCascadeRPNHead', in_channels=64, feat_channels=64,
             reg_decoded_bbox=True,
             loss_bbox=dict(type='IoULoss', linear=True, loss_weight=7.0))
coder = dict(type='DeltaXYWHBBoxCoder', target_means=(0, 0, 0, 0))
rest = dict(allowed_border=-1, pos_weight=-1, debug=False)

model = dict(
    rpn_head=dict(
        _delete_=True,
        type='CascadeRPNHead',
        num_stages=2,
        stages=[
            dict(**stage,
                 # Halfway between the two scales of the other heads.
                 anchor_generator=dict(type='AnchorGenerator', scales=[2.5],
                                       ratios=[1.0], strides=[8, 16, 32]),
                 adapt_cfg=dict(type='dilation', dilation=3),
                 bridged_feature=True, with_cls=False,
                 bbox_coder=dict(**coder, target_stds=(0.1, 0.1, 0.5, 0.5))),
            dict(**stage,
                 adapt_cfg=dict(type='offset'),
                 bridged_feature=False, with_cls=True,
                 bbox_coder=dict(**coder, target_stds=(0.05, 0.05, 0.1, 0.1)),
                 loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=True,
                               loss_weight=0.7)),
        ]),
    train_cfg=dict(rpn=[
        dict(**rest, assigner=dict(type='RegionAssigner', center_ratio=0.2,
                                   ignore_ratio=0.5)),
        dict(**rest, assigner=dict(type='MaxIoUAssigner', pos_iou_thr=0.7,
                                   neg_iou_thr=0.7, min_pos_iou=0.3,
                                   ignore_iof_thr=-1),
             sampler=dict(type='RandomSampler', num=256, pos_fraction=0.5,
                          neg_pos_ub=-1, add_gt_as_proposals=False)),
    ]))
