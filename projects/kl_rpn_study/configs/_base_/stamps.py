# Cut-outs of photographs on photographs, made by converters/stamps.py: 240
# images to train on, 150 to choose settings on and 300 to test on. Birds are
# 40% of the objects, vehicles 4%; half of the fruit is less than 18 pixels
# long, half of the mammals more than 85.
_base_ = 'miniature.py'
data = dict(data_root='data/stamps/', metainfo=dict(
    classes=('bird', 'fruit', 'mammal', 'plant', 'tool', 'vehicle')))

train_dataloader = val_dataloader = test_dataloader = dict(dataset=data)
val_evaluator = dict(
    ann_file='data/stamps/annotations/val.json', classwise=True)
test_evaluator = dict(
    ann_file='data/stamps/annotations/test.json', classwise=True)
