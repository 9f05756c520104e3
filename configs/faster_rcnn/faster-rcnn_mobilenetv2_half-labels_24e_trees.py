# Half of the objects of the training images are left without a label, by
# tools/dataset_converters/drop_labels.py: each is background in training.
_base_ = 'faster-rcnn_mobilenetv2_24e_trees.py'
train_dataloader = dict(
    dataset=dict(ann_file='annotations/train_half.json'))
