"""What holds of the head for any sizes, options and objects."""

import math
from typing import NamedTuple

import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from mmdet.models.task_modules.assigners import MaxIoUAssigner
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from test_kl_rpn_head import TRAIN_CFG, assert_gradients_reach_all, instances
from torch.distributions import Normal, kl_divergence

from mmdet_klrpn.models import KLRPNHead, TopKMaxIoUAssigner

# The same examples in each run: a failure is one of the change under test.
SETTINGS = settings(deadline=None, max_examples=60, derandomize=True)


class Problem(NamedTuple):
    """A batch and the head that gets it.

    Attributes:
        shape: Height and width of the images in pixels.
        levels: Feature maps, of strides 4, 8, ...
        anchors: Ratios and scales of the base anchors.
        options: neg_std, min_std and pos_std over it, num_stds, divergence.
        objects: Of each image, boxes as x, y, width, height.
        topk: pos_topk.
        size: How large weights, and so predictions, are.
        seed: Of weights and features.
    """

    shape: tuple = (1, 1)
    levels: int = 1
    anchors: tuple = ((1.0,), (1,))
    options: tuple = (0.5, 0.06, 0.0, 4, 'reverse')
    objects: tuple = ((),)
    topk: int = 9
    size: float = 1.0
    seed: int = 0

    def head(self):
        neg_std, min_std, pos_std, num_stds, divergence = self.options
        ratios, scales = self.anchors
        head = KLRPNHead(
            in_channels=2,
            feat_channels=2,
            num_stds=num_stds,
            neg_std=neg_std,
            min_std=min_std * neg_std,
            pos_std=pos_std * neg_std,
            loss_mean=dict(type='L1Loss'),
            neg_divergence=divergence,
            pos_topk=self.topk,
            anchor_generator=dict(
                type='AnchorGenerator',
                ratios=ratios,
                scales=scales,
                strides=self.strides(),
            ),
            train_cfg=TRAIN_CFG,
            test_cfg=ConfigDict(
                nms_pre=40,
                max_per_img=20,
                nms=dict(type='nms', iou_threshold=0.7),
                min_bbox_size=0,
            ),
        )
        torch.manual_seed(self.seed)
        for parameter in head.parameters():
            torch.nn.init.normal_(parameter, std=self.size)
        return head

    def strides(self):
        return [4 * 2**level for level in range(self.levels)]

    def outputs(self, head):
        torch.manual_seed(self.seed)
        sizes = [
            [-(-side // s) for side in self.shape] for s in self.strides()
        ]
        return head([torch.randn(len(self.objects), 2, *x) for x in sizes])

    def metas(self):
        meta = dict(img_shape=self.shape, pad_shape=self.shape)
        return [dict(meta, scale_factor=(2.0, 0.5)) for _ in self.objects]

    def ground_truths(self):
        return [
            instances(*((x, y, x + w, y + h) for x, y, w, h in boxes))
            for boxes in self.objects
        ]


side = st.sampled_from([1, 3, 8, 17, 40, 64])
# Degenerate ones and ones outside of the image are among them.
place = st.integers(-20, 70)
extent = st.one_of(st.just(0), st.floats(0.25, 80, width=32))
images = st.lists(
    st.lists(st.tuples(place, place, extent, extent), max_size=4).map(tuple),
    min_size=1,
    max_size=3,
).map(tuple)
problems = st.builds(
    Problem,
    shape=st.tuples(side, side),
    levels=st.integers(1, 5),
    anchors=st.tuples(
        st.sampled_from([(1.0,), (0.5, 1.0, 2.0)]),
        st.sampled_from([(1,), (3,), (2, 4, 8)]),
    ),
    options=st.tuples(
        st.floats(0.1, 2),
        st.floats(0.02, 0.9),
        st.sampled_from([0.0, 0.01, 0.9]),
        st.sampled_from([1, 4]),
        st.sampled_from(['forward', 'reverse']),
    ),
    objects=images,
    topk=st.sampled_from([0, 1, 9]),
    size=st.sampled_from([0.01, 0.5, 3.0]),
    seed=st.integers(0, 99),
)
CROWD = Problem(
    shape=(40, 64),
    levels=3,
    anchors=((0.5, 1.0, 2.0), (3,)),
    objects=(((2, 3, 12, 11), (20, 5, 30, 24), (9, 9, 0, 5)), ()),
)


def rows(maps, channels):
    """Maps (N, A * channels, H, W) as rows of anchors, in float64."""
    maps = (x.detach().double().permute(0, 2, 3, 1) for x in maps)
    return torch.cat([x.reshape(len(x), -1, channels) for x in maps], dim=1)


def dense_losses(problem, head, logits, means):
    """The losses from every anchor, by whole matrices and torch's KL."""
    neg_std, min_std, pos_std, num_stds, divergence = problem.options
    sizes = [x.shape[-2:] for x in means]
    priors = torch.cat(head.prior_generator.grid_priors(sizes, device='cpu'))
    assigner = dict(TRAIN_CFG.assigner)
    assigner.pop('type')
    if problem.topk:
        assigner = TopKMaxIoUAssigner(**assigner, topk=problem.topk)
    else:
        assigner = MaxIoUAssigner(**assigner)
    pos = neg = shift = divisor = 0.0
    z, means = rows(logits, num_stds), rows(means, 4)
    # As the method states it: neg_std^2 at z = 0, min_std^2 at infinity.
    fall = torch.where(z >= 0, (-z).exp(), 1 - z)
    variance = neg_std**2 * (min_std**2 + (1 - min_std**2) * fall)
    for image, gt in enumerate(problem.ground_truths()):
        assigned = assigner.assign(InstanceData(priors=priors), gt)
        is_pos, is_neg = assigned.gt_inds > 0, assigned.gt_inds == 0
        predicted = Normal(means[image], variance[image].sqrt().expand(-1, 4))
        boxes = gt.bboxes[assigned.gt_inds.clamp(min=1)[is_pos] - 1]
        target = head.bbox_coder.encode(priors[is_pos], boxes).double()
        shift += (means[image][is_pos] - target).abs().sum()
        near = Normal(means[image][is_pos], predicted.scale[is_pos])
        if pos_std:
            narrow = Normal(target, pos_std * neg_std)
            pos += kl_divergence(narrow, near).sum()
        else:
            constant = 0.5 * math.log(2 * math.pi)
            pos += (-near.log_prob(target) - constant).sum()
        far = Normal(means[image][is_neg], predicted.scale[is_neg])
        pair = [Normal(far.loc, neg_std), far]
        if divergence == 'reverse':
            pair.reverse()
        neg += kl_divergence(*pair).sum()
        # mmdet counts at least one of each kind.
        divisor += max(int(is_pos.sum()), 1) + max(int(is_neg.sum()), 1)
    return pos / divisor, neg / divisor, shift / divisor


@SETTINGS
@given(problems)
@example(Problem())
@example(CROWD)
@example(CROWD._replace(options=(0.5, 0.06, 0.2, 1, 'forward'), size=3.0))
def test_losses_are_those_of_a_dense_reference(problem):
    head = problem.head()
    outs = problem.outputs(head)
    args = (problem.ground_truths(), problem.metas())
    losses = head.loss_by_feat(*outs, *args)
    for value in losses.values():
        assert torch.isfinite(value)
    expected = dense_losses(problem, head, *outs)
    names = ('loss_rpn_pos', 'loss_rpn_neg', 'loss_rpn_mean')
    for name, value in zip(names, expected):
        torch.testing.assert_close(
            losses[name].double(),
            torch.as_tensor(value, dtype=torch.float64),
            rtol=1e-3,
            atol=1e-4,
        )
    assert_gradients_reach_all(head, losses)


def test_the_examples_have_positives_and_negatives():
    head = CROWD.head()
    args = (CROWD.ground_truths(), CROWD.metas())
    losses = head.loss_by_feat(*CROWD.outputs(head), *args)
    assert losses['rpn_num_pos'] >= 1
    assert losses['loss_rpn_neg'] > 0


@SETTINGS
@given(problems)
@example(Problem())
@example(CROWD)
def test_proposals_are_what_they_claim(problem):
    head = problem.head()
    batch = head.predict_by_feat(
        *problem.outputs(head), batch_img_metas=problem.metas()
    )
    assert len(batch) == len(problem.objects)
    height, width = problem.shape
    for proposals in batch:
        assert len(proposals) <= 20
        assert (proposals.scores >= 0).all()
        assert (proposals.scores <= 1).all()
        assert (proposals.scores.diff() <= 0).all()
        assert torch.isfinite(proposals.bbox_stds).all()
        assert (proposals.bbox_stds > 0).all()
        x1, y1, x2, y2 = proposals.bboxes.T
        assert ((x1 >= 0) & (x1 < x2) & (x2 <= width)).all()
        assert ((y1 >= 0) & (y1 < y2) & (y2 <= height)).all()
        assert (proposals.labels == 0).all()
