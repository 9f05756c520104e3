# Tree crowns in aerial photographs, made by converters/trees.py: 56 tiles to
# train on, 52 of them with trees, 12 to test on, and a photograph to choose
# settings on.
_base_ = 'miniature.py'
data = dict(data_root='data/trees/', metainfo=dict(classes=('tree', )))

train_dataloader = dict(dataset=dict(**data, pipeline=[
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    # An image seen from above has no upright side.
    dict(type='RandomFlip', prob=[0.25, 0.25, 0.25],
         direction=['horizontal', 'vertical', 'diagonal']),
    # Other scenes have another light and other tree sizes.
    dict(type='PhotoMetricDistortion'),
    dict(type='RandomResize', scale=(352, 352), ratio_range=(0.8, 1.6),
         keep_ratio=True),
    dict(type='RandomCrop', crop_size=(352, 352)),
    dict(type='PackDetInputs'),
]))
val_dataloader = test_dataloader = dict(dataset=data)
val_evaluator = dict(ann_file='data/trees/annotations/val.json')
test_evaluator = dict(ann_file='data/trees/annotations/test.json')
train_cfg = dict(max_epochs=24, val_interval=24)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, end=20),
    dict(type='CosineAnnealingLR', eta_min=0, T_max=24,
         convert_to_iter_based=True),
]
