# The second stage learns what the proposals' scores tell it.
_base_ = 'faster-rcnn_mobilenetv2_24e_trees.py'
model = dict(
    roi_head=dict(type='ObjectnessRoIHead', objectness_prior=True))
