# The stronger baseline, with labels as in the half-labels config.
_base_ = 'faster-rcnn_mobilenetv2_topk_8e_stamps.py'
train_dataloader = dict(
    dataset=dict(ann_file='annotations/train_half.json'))
