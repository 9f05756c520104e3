# Tree crowns in aerial photographs, made by converters/trees.py: 56 tiles to
# train on, 52 of them with trees, 12 to test on, and a photograph to choose
# settings on.
_base_ = 'miniature.py'
data = dict(data_root='data/trees/', metainfo=dict(classes=('tree', )))

pipeline = _base_.train_dataloader.dataset.pipeline
# An image seen from above has no upright side.
pipeline[2].update(prob=[0.25, 0.25, 0.25],
                   direction=['horizontal', 'vertical', 'diagonal'])
# Other scenes have another light and other tree sizes.
pipeline[3].ratio_range = (0.8, 1.6)
pipeline.insert(3, dict(type='PhotoMetricDistortion'))
train_dataloader = dict(dataset=dict(**data, pipeline=pipeline))
val_dataloader = test_dataloader = dict(dataset=data)
val_evaluator = dict(ann_file='data/trees/annotations/val.json')
test_evaluator = dict(ann_file='data/trees/annotations/test.json')
train_cfg = dict(max_epochs=24, val_interval=24)
param_scheduler = _base_.param_scheduler
param_scheduler[1].T_max = 24
del pipeline
