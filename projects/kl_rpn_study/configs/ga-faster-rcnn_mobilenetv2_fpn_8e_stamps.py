# mmdet's ga-faster-rcnn_r50_fpn in miniature. The second stage is that of the
# other heads, and not tuned to this one.
_base_ = 'faster-rcnn_mobilenetv2_fpn_8e_stamps.py'
coder = dict(type='DeltaXYWHBBoxCoder', target_means=[0, 0, 0, 0])

model = dict(
    rpn_head=dict(
        _delete_=True,
        type='GARPNHead',
        in_channels=64,
        feat_channels=64,
        # Scales of 2, 2.5 and 3.2: those of the other heads, and between.
        approx_anchor_generator=dict(
            type='AnchorGenerator', octave_base_scale=2, scales_per_octave=3,
            ratios=[0.7, 1.0, 1.4], strides=[8, 16, 32]),
        square_anchor_generator=dict(
            type='AnchorGenerator', ratios=[1.0], scales=[2],
            strides=[8, 16, 32]),
        anchor_coder=dict(**coder, target_stds=[0.07, 0.07, 0.14, 0.14]),
        bbox_coder=dict(**coder, target_stds=[0.07, 0.07, 0.11, 0.11]),
        loc_filter_thr=0.01,
        loss_loc=dict(type='FocalLoss', use_sigmoid=True, gamma=2.0,
                      alpha=0.25, loss_weight=1.0),
        loss_shape=dict(type='BoundedIoULoss', beta=0.2, loss_weight=1.0),
        loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=True,
                      loss_weight=1.0),
        loss_bbox=dict(type='SmoothL1Loss', beta=1.0, loss_weight=1.0)),
    train_cfg=dict(
        rpn=dict(
            ga_assigner=dict(
                type='ApproxMaxIoUAssigner', pos_iou_thr=0.7, neg_iou_thr=0.3,
                min_pos_iou=0.3, ignore_iof_thr=-1),
            ga_sampler=dict(
                type='RandomSampler', num=256, pos_fraction=0.5,
                neg_pos_ub=-1, add_gt_as_proposals=False),
            allowed_border=-1,
            center_ratio=0.2,
            ignore_ratio=0.5),
        rpn_proposal=dict(nms_post=300)),
    test_cfg=dict(rpn=dict(nms_post=300)))
