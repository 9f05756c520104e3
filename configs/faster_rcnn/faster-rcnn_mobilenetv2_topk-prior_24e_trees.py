# The second stage learns what the proposals' scores tell it. The objects
# themselves have none, and are not added to the proposals.
_base_ = 'faster-rcnn_mobilenetv2_topk_24e_trees.py'
model = dict(
    roi_head=dict(type='ObjectnessRoIHead', objectness_prior=True),
    train_cfg=dict(rcnn=dict(sampler=dict(add_gt_as_proposals=False))))
