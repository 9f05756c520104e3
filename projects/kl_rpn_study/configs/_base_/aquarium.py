# Photographs of two aquariums, made by converters/aquarium.py from what
# Roboflow publishes (Aquarium, Roboflow, CC BY 4.0): 448 to train on, 127 to
# choose settings on and 63 to test on. Of the objects to train on 59% are fish
# and 2% starfish.
#
# Four epochs are as many steps as stamps has. A step took 0.52 seconds of one
# core with Faster R-CNN on a single map, 0.43 with R-FCN and 0.78 with the
# pyramid, where one of stamps took 0.43.
_base_ = 'miniature.py'
data = dict(data_root='data/aquarium/', metainfo=dict(
    classes=('fish', 'jellyfish', 'penguin', 'puffin', 'shark', 'starfish',
             'stingray')))

train_pipeline = _base_.train_dataloader.dataset.pipeline
train_pipeline[3].scale = train_pipeline[4].crop_size = (448, 448)
train_dataloader = dict(dataset=dict(**data, pipeline=train_pipeline))
pipeline = _base_.val_dataloader.dataset.pipeline
pipeline[1].scale = (448, 448)
val_dataloader = test_dataloader = dict(
    dataset=dict(**data, pipeline=pipeline))
val_evaluator = dict(
    ann_file='data/aquarium/annotations/val.json', classwise=True)
test_evaluator = dict(
    ann_file='data/aquarium/annotations/test.json', classwise=True)
train_cfg = dict(max_epochs=4, val_interval=4)
param_scheduler = _base_.param_scheduler
param_scheduler[1].T_max = 4
del train_pipeline
