# A stronger baseline: an RPN with KL-RPN's positives and its loss of the boxes.
# What is left between the two is the score and what trains it.
_base_ = 'rfcn_mobilenetv2_24e_trees.py'
model = dict(
    rpn_head=dict(
        loss_bbox=dict(
            _delete_=True,
            type='SmoothL1Loss',
            beta=1.0 / 9.0,
            loss_weight=10.0)),
    train_cfg=dict(
        rpn=dict(assigner=dict(type='TopKMaxIoUAssigner', topk=9))))
