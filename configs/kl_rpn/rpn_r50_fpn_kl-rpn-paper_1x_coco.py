# Literally what the sources state: a Dirac for positives, a wide Gaussian for
# negatives, one forward KL, and the predicted deviation in the place of the
# score. How wide, and one deviation for an anchor, they leave open: 1.0 is
# several times the offsets of any positive.
_base_ = 'rpn_r50_fpn_kl-rpn_1x_coco.py'
model = dict(
    rpn_head=dict(
        num_stds=1,
        pos_std=0.0,
        neg_std=1.0,
        neg_divergence='forward',
        log_variance='free'))
