# Small enough to train on two CPU cores in minutes.
_base_ = [
    'mmdet::_base_/models/faster-rcnn_r50_fpn.py',
    '../_base_/datasets/trees_detection.py',
    'mmdet::_base_/default_runtime.py',
]
custom_imports = dict(imports=['mmdet_klrpn'], allow_failed_imports=False)
# `python tools/model_converters/mobilenetv2_to_mmdet.py` makes it.
pretrained = 'data/mobilenetv2.pth'
max_epochs = 24

model = dict(
    backbone=dict(
        _delete_=True,
        type='MobileNetV2',
        out_indices=(2, 4, 6),
        frozen_stages=2,
        norm_eval=True,
        init_cfg=dict(type='Pretrained', checkpoint=pretrained)),
    neck=dict(in_channels=[32, 96, 320], out_channels=64, num_outs=3),
    rpn_head=dict(
        in_channels=64,
        feat_channels=64,
        # Crowns are 8 to 106 pixels wide, half of them 29 to 53.
        anchor_generator=dict(
            scales=[2.5, 3.5], ratios=[0.7, 1.0, 1.4], strides=[8, 16, 32])),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=64, featmap_strides=[8, 16, 32]),
        bbox_head=dict(
            in_channels=64, fc_out_channels=256, num_classes=1)),
    train_cfg=dict(
        rpn_proposal=dict(nms_pre=1000, max_per_img=300),
        rcnn=dict(sampler=dict(num=128))),
    test_cfg=dict(rpn=dict(nms_pre=1000, max_per_img=300)))

train_cfg = dict(
    type='EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=max_epochs)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=5e-4, weight_decay=1e-4),
    clip_grad=dict(max_norm=10.0))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, end=20),
    dict(type='CosineAnnealingLR', eta_min=0, T_max=max_epochs,
         convert_to_iter_based=True),
]
default_hooks = dict(
    logger=dict(interval=7),
    # The one before is deleted before the next is written: two, or a kill in
    # between would leave none.
    checkpoint=dict(interval=6, max_keep_ckpts=2),
    # Killed and resumed, a run ends with the weights of an unbroken one.
    resume_seed=dict(type='ResumeSeedHook'))
# RPN and KL-RPN are compared on the same initial weights and order of images.
randomness = dict(seed=0)
auto_scale_lr = dict(enable=False, base_batch_size=2)
# mmdet's MobileNetV2 freezes its stages after DDP has counted the parameters,
# and has a last convolution that nothing here reads.
find_unused_parameters = True
