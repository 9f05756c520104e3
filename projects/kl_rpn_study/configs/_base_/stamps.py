# Cut-outs of photographs on photographs, made by converters/stamps.py: 240
# images to train on, 150 to choose settings on and 300 to test on. Birds are
# 40% of the objects, vehicles 4%; half of the fruit is less than 18 pixels
# long, half of the mammals more than 85.
_base_ = 'miniature.py'
data = dict(data_root='data/stamps/', metainfo=dict(
    classes=('bird', 'fruit', 'mammal', 'plant', 'tool', 'vehicle')))

train_dataloader = dict(dataset=dict(**data, pipeline=[
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='RandomResize', scale=(352, 352), ratio_range=(0.8, 1.25),
         keep_ratio=True),
    dict(type='RandomCrop', crop_size=(352, 352)),
    dict(type='PackDetInputs'),
]))
val_dataloader = test_dataloader = dict(dataset=data)
val_evaluator = dict(
    ann_file='data/stamps/annotations/val.json', classwise=True)
test_evaluator = dict(
    ann_file='data/stamps/annotations/test.json', classwise=True)
train_cfg = dict(max_epochs=8, val_interval=8)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, end=20),
    dict(type='CosineAnnealingLR', eta_min=0, T_max=8,
         convert_to_iter_based=True),
]
