# What the data sets share: COCO's measures, AdamW and, where they say nothing
# else, images of 352 pixels and 8 epochs.
_base_ = '../../../../configs/_base_/default_runtime.py'

train_dataloader = dict(
    batch_size=2, num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='CocoDataset',
        ann_file='annotations/train.json', data_prefix=dict(img='train/'),
        filter_cfg=dict(filter_empty_gt=True),
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations', with_bbox=True),
            dict(type='RandomFlip', prob=0.5),
            dict(type='RandomResize', scale=(352, 352),
                 ratio_range=(0.8, 1.25), keep_ratio=True),
            dict(type='RandomCrop', crop_size=(352, 352)),
            dict(type='PackDetInputs'),
        ]))
val_dataloader = dict(
    batch_size=1, num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='CocoDataset',
        ann_file='annotations/val.json', data_prefix=dict(img='val/'),
        test_mode=True,
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='Resize', scale=(352, 352), keep_ratio=True),
            dict(type='LoadAnnotations', with_bbox=True),
            dict(type='PackDetInputs', meta_keys=(
                'img_id', 'img_path', 'ori_shape', 'img_shape',
                'scale_factor')),
        ]))
# Settings are chosen on val, and reported on test.
test_dataloader = dict(
    val_dataloader,
    dataset=dict(
        val_dataloader['dataset'],
        ann_file='annotations/test.json', data_prefix=dict(img='test/')))
val_evaluator = test_evaluator = dict(type='CocoMetric')
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=8, val_interval=8)
val_cfg, test_cfg = dict(type='ValLoop'), dict(type='TestLoop')
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=5e-4, weight_decay=1e-4),
    clip_grad=dict(max_norm=10.0))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, end=20),
    dict(type='CosineAnnealingLR', eta_min=0, T_max=8,
         convert_to_iter_based=True),
]
# All detectors see the same initial weights and order of images.
randomness = dict(seed=0)
auto_scale_lr = dict(enable=False, base_batch_size=2)
