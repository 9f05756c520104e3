# See faster-rcnn_r50_fpn_kl-rpn-paper_1x_coco.py.
_base_ = 'rpn_r50_fpn_kl-rpn_1x_coco.py'
model = dict(
    rpn_head=dict(
        num_stds=1, pos_std=0.0, neg_std=3.0, neg_divergence='forward',
        loss_mean=None, pos_topk=0))
optim_wrapper = dict(clip_grad=dict(max_norm=1))
