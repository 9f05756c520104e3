"""KLRPNHead against mmdet's RPNHead and naive references."""

import logging
import math

import pytest
import torch
from conftest import warnings_logged
from mmdet.models.dense_heads import RPNHead
from mmdet.models.task_modules.assigners import MaxIoUAssigner
from mmdet.registry import MODELS
from mmdet.structures.bbox import bbox_overlaps
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from tiny_detectors import faster_rcnn

from mmdet_klrpn.models import KLRPNHead, TopKMaxIoUAssigner
from mmdet_klrpn.models.dense_heads import kl_rpn_head

STRIDES = (8, 16)
SHAPE = (64, 96)
TRAIN_CFG = faster_rcnn(
    'model.train_cfg.rpn',
    # More than there are anchors: the sampler takes all and rolls no dice.
    {'assigner.ignore_iof_thr': 0.5, 'sampler.num': 10_000},
)
TEST_CFG = faster_rcnn('model.test_cfg.rpn', dict(nms_pre=60, max_per_img=30))


def build_head(cls=KLRPNHead, train_cfg=TRAIN_CFG, **kwargs):
    torch.manual_seed(0)
    head = cls(
        in_channels=8,
        feat_channels=8,
        anchor_generator=dict(
            type='AnchorGenerator',
            scales=[3],
            ratios=[0.5, 1.0, 2.0],
            strides=STRIDES,
        ),
        loss_bbox=dict(type='L1Loss', loss_weight=3.0),
        train_cfg=train_cfg,
        test_cfg=TEST_CFG,
        **kwargs,
    )
    # Far from the initial weights, where every anchor is alike.
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return head


def features(images=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return tuple(
        torch.randn(
            (images, 8, SHAPE[0] // s, SHAPE[1] // s), generator=generator
        )
        for s in STRIDES
    )


def metas(images=1):
    return [
        dict(img_shape=SHAPE, pad_shape=SHAPE, scale_factor=(2.0, 4.0))
        for _ in range(images)
    ]


def instances(*boxes):
    return InstanceData(
        bboxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        labels=torch.zeros(len(boxes), dtype=torch.long),
    )


ONE = instances([10, 10, 40, 35])
TWO = instances([10, 10, 40, 35], [50, 20, 90, 60])


def assert_gradients_reach_all(head, losses):
    sum(value for key, value in losses.items() if 'loss' in key).backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


def test_logits_are_float32_in_autocast():
    head = build_head()
    with torch.autocast('cpu', dtype=torch.bfloat16):
        outs = head(features())
        losses = head.loss_by_feat(*outs, [TWO], metas())
    assert all(logits.dtype == torch.float32 for logits in outs[0])
    assert losses['loss_rpn_pos'].dtype == torch.float32
    proposals = head.predict_by_feat(*outs, batch_img_metas=metas())[0]
    for field in ('scores', 'bboxes', 'bbox_stds'):
        assert proposals[field].dtype == torch.float32, field


def test_scores_do_not_tie_in_autocast():
    head = build_head()
    # The logits of a trained RPN's background, little apart from each other.
    torch.nn.init.normal_(head.rpn_cls.weight, std=0.01)
    torch.nn.init.constant_(head.rpn_cls.bias, -8.0)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        logits, _ = head(features(8))
    values = torch.cat([head.log_variances(x).flatten() for x in logits])
    assert len(values.unique()) > 0.9 * len(values)


def priors_of(head, maps):
    sizes = [level.shape[-2:] for level in maps]
    return torch.cat(head.prior_generator.grid_priors(sizes, device='cpu'))


def test_the_means_are_trained_as_those_of_an_rpn_head():
    own_loss = dict(loss_mean=dict(type='L1Loss', loss_weight=3.0))
    topk = dict(TRAIN_CFG.assigner, type='TopKMaxIoUAssigner', topk=9)
    same = dict(train_cfg=ConfigDict(TRAIN_CFG, assigner=topk))
    heads = [(RPNHead, same), (KLRPNHead, own_loss)]
    predicted = build_head()(features(2))[1]
    losses, gradients = [], []
    for cls, options in heads:
        head = build_head(cls, **options)
        scores = head(features(2))[0]
        means = [x.detach().requires_grad_() for x in predicted]
        own = head.loss_by_feat(scores, means, [ONE, TWO], metas(2))
        own = {k: v for k, v in own.items() if 'loss' in k}
        if cls is RPNHead:  # a value a level
            own = {name: sum(values) for name, values in own.items()}
        sum(own.values()).backward()
        losses.append(own.get('loss_rpn_mean', own.get('loss_rpn_bbox')))
        gradients.append([x.grad for x in means])
    assert losses[0] > 0
    torch.testing.assert_close(losses[1], losses[0])
    torch.testing.assert_close(gradients[1], gradients[0])


def test_each_object_has_its_best_anchors_for_positives():
    # Half as long as the smallest anchor: beyond the thresholds' reach.
    small = instances([21, 22, 32, 33.5])
    counts = []
    for topk in (0, 1, 9):
        head = build_head(pos_topk=topk)
        losses = head.loss_by_feat(*head(features()), [small], metas())
        counts.append(losses['rpn_num_pos'].item())
    ious = bbox_overlaps(small.bboxes, priors_of(head, features()))[0]
    ninth = ious.sort(descending=True).values[8]
    assert counts[0] == 0 < counts[1] < 9
    assert counts[2] == (ious >= ninth).sum() >= 9


def test_the_log_says_which_assigner_it_is(monkeypatch):
    logged = []
    monkeypatch.setattr(
        kl_rpn_head, 'print_log', lambda text, **_: logged.append(text)
    )
    head = build_head()
    assert isinstance(head.assigner, TopKMaxIoUAssigner)
    assert head.assigner.topk == 9
    (text,) = logged
    assert 'replaces the MaxIoUAssigner' in text
    assert 'topk=9' in text
    given = dict(TRAIN_CFG.assigner, type='TopKMaxIoUAssigner', topk=3)
    head = build_head(train_cfg=ConfigDict(TRAIN_CFG, assigner=given))
    assert head.assigner.topk == 3
    assert 'keeps the TopKMaxIoUAssigner' in logged[1]
    # Nothing is replaced, so nothing is said.
    assert type(build_head(pos_topk=0).assigner) is MaxIoUAssigner
    assert not hasattr(build_head(train_cfg=None), 'assigner')
    assert len(logged) == 2


def test_without_a_loss_of_means_the_divergence_trains_them():
    head = build_head(loss_mean=None, num_stds=1)
    logits, means = head(features())
    means = [x.detach().requires_grad_() for x in means]
    losses = head.loss_by_feat(logits, means, [TWO], metas())
    assert 'loss_rpn_mean' not in losses
    losses['loss_rpn_pos'].backward()
    beside = build_head(num_stds=1).loss_by_feat(logits, means, [TWO], metas())
    torch.testing.assert_close(losses['loss_rpn_pos'], beside['loss_rpn_pos'])
    # d/dmu of (t - mu)^2 / (2 sigma^2), which is 0 where there is no box.
    grid, samples = head.sample_anchors(logits, [TWO], metas())
    count = len(samples.targets)
    rows, mean = grid.gather(samples.images, samples.anchors, logits, means)
    gradients = grid.gather(
        samples.images, samples.anchors, logits, [x.grad for x in means]
    )[1]
    variance = head.log_variances(rows[:count]).exp()
    expected = (mean[:count] - samples.targets) / variance / samples.avg_factor
    assert count > 0
    torch.testing.assert_close(gradients[:count], expected)
    assert (gradients[count:] == 0).all()


@pytest.mark.parametrize('neg_divergence', ['forward', 'reverse'])
@pytest.mark.parametrize('share', [0.1, 0.25, 0.6])
def test_minimum_of_the_expected_loss(neg_divergence, share):
    """The variances that `objectness` says its score stands for."""
    head = build_head(num_stds=1, neg_std=0.5, neg_divergence=neg_divergence)
    error = 0.1
    log_var = torch.tensor([[-2.0]], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([log_var], max_iter=100)
    mean = torch.zeros((1, 4), dtype=torch.float64)

    def closure():
        optimizer.zero_grad()
        pos = head.loss_kl(mean, log_var, mean + error, 0.0, avg_factor=1)
        neg = head._loss_neg(mean, log_var, 1)
        loss = share * pos + (1 - share) * neg
        loss.backward()
        return loss

    for _ in range(5):
        optimizer.step(closure)
    v, k = log_var.exp().item() / 0.5**2, error**2 / 0.5**2
    if neg_divergence == 'forward':
        assert v == pytest.approx(share * k + 1 - share, rel=1e-3)
    else:
        residual = (1 - share) * v**2 + (2 * share - 1) * v - share * k
        assert residual == pytest.approx(0, abs=1e-4)


def test_anchors_in_ignored_regions_are_not_sampled():
    head = build_head(neg_divergence='reverse')
    logits, means = head(features())
    # Absurd in the right half of the image, which is ignored.
    for level in logits:
        level.data[..., level.shape[-1] // 2 :] = -1e8
    right = InstanceData(bboxes=torch.tensor([[40.0, -99.0, 999.0, 999.0]]))
    args = ([ONE], metas())
    sampled = head.loss_by_feat(logits, means, *args)
    assert sampled['loss_rpn_neg'] > 1e6
    losses = head.loss_by_feat(logits, means, *args, [right])
    assert losses['loss_rpn_neg'] < 10
    assert losses['rpn_num_pos'] > 0


def test_nothing_sampled_at_all():
    head = build_head()
    everywhere = InstanceData(
        bboxes=torch.tensor([[-500.0, -500.0, 500.0, 500.0]])
    )
    losses = head.loss_by_feat(*head(features()), [ONE], metas(), [everywhere])
    assert losses['loss_rpn_pos'] == 0
    assert losses['loss_rpn_neg'] == 0
    assert losses['rpn_neg_std'] == 0
    assert_gradients_reach_all(head, losses)


def test_no_anchor_inside_the_image_is_an_error():
    head = build_head(train_cfg=ConfigDict(TRAIN_CFG, allowed_border=0))
    tiny = [dict(img_shape=(8, 8), pad_shape=(8, 8))]
    with pytest.raises(ValueError, match='no valid anchor inside the image'):
        head.loss_by_feat(*head(features()), [ONE], tiny)


def test_labels_of_objects_are_irrelevant():
    head = build_head()
    outs = head(features())
    other = instances([10, 10, 40, 35])
    other.labels += 1
    torch.testing.assert_close(
        head.loss_by_feat(*outs, [other], metas()),
        head.loss_by_feat(*outs, [ONE], metas()),
    )


def test_pos_weight_scales_the_positives():
    weighted = build_head(train_cfg=ConfigDict(TRAIN_CFG, pos_weight=3.0))
    head = build_head()
    outs = head(features())
    losses = head.loss_by_feat(*outs, [TWO], metas())
    scaled = weighted.loss_by_feat(*outs, [TWO], metas())
    torch.testing.assert_close(
        scaled['loss_rpn_pos'], 3 * losses['loss_rpn_pos']
    )
    torch.testing.assert_close(scaled['loss_rpn_neg'], losses['loss_rpn_neg'])


@pytest.mark.parametrize('num_stds', [1, 4])
def test_weights_of_an_rpn_head_give_its_proposals(num_stds):
    rpn = build_head(RPNHead)
    head = build_head(num_stds=num_stds)
    head.load_state_dict(rpn.state_dict())
    expected = rpn.predict_by_feat(*rpn(features()), batch_img_metas=metas())
    proposals = head.predict_by_feat(
        *head(features()), batch_img_metas=metas()
    )
    torch.testing.assert_close(
        proposals[0].bboxes, expected[0].bboxes, rtol=1e-4, atol=1e-3
    )


def test_trains_on_from_the_logits_of_an_rpn_head():
    """A trained RPN's background has logits near -10."""
    head = build_head()
    torch.nn.init.constant_(head.rpn_cls.bias, -10.0)
    losses = head.loss_by_feat(*head(features()), [TWO], metas())
    assert 0 < losses['loss_rpn_neg'] < 4 * 10
    losses['loss_rpn_neg'].backward()
    # d loss / d bias: 1/2 at most for each of the four stds of an anchor.
    assert 0 < head.rpn_cls.bias.grad.abs().sum() <= 2


def test_loading_an_rpn_head_says_what_was_copied():
    head = build_head(num_stds=4)
    with warnings_logged(logging.INFO) as lines:
        head.load_state_dict(build_head(RPNHead).state_dict())
    text = '\n'.join(lines)
    assert 'rpn_cls.weight: the 3 logits of the checkpoint' in text
    assert 'repeated to 12, one per std' in text
    assert text.count('bbox_stds mean nothing until') == 1


def test_std_scale_scales_the_stds_and_nothing_else():
    plain = build_head(std_scale=1.0)
    scaled = build_head(std_scale=1.23)
    scaled.load_state_dict(plain.state_dict())
    outs = plain(features())
    given, ours = (
        head.predict_by_feat(*outs, batch_img_metas=metas(), rescale=True)[0]
        for head in (plain, scaled)
    )
    assert len(given) > 0
    torch.testing.assert_close(ours.bbox_stds, 1.23 * given.bbox_stds)
    for field in ('bboxes', 'scores'):
        assert torch.equal(ours[field], given[field]), field
    losses = []
    for head in (plain, scaled):
        torch.manual_seed(0)
        losses.append(head.loss_by_feat(*outs, [TWO], metas()))
    assert losses[0] == losses[1]


def test_the_reduction_of_the_loss_is_the_head_s():
    losses = []
    for reduction in ('mean', 'sum', 'none'):
        head = build_head(loss_kl=dict(type='KLDivLoss', reduction=reduction))
        outs = head(features())
        losses.append(head.loss_by_feat(*outs, [TWO], metas()))
    torch.testing.assert_close(losses[1], losses[0])
    torch.testing.assert_close(losses[2], losses[0])


def test_a_config_that_only_changes_the_type_builds():
    head = MODELS.build(
        dict(
            type='KLRPNHead',
            in_channels=8,
            feat_channels=8,
            num_classes=1,
            num_convs=2,
            loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=False),
            loss_bbox=dict(type='L1Loss', loss_weight=1.0),
        )
    )
    assert head.rpn_cls.out_channels == 9 * head.num_stds


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(num_stds=2), 'num_stds must be 1 or 4, but got 2'),
        (dict(neg_std=0), 'neg_std must be finite and > 0, but got 0'),
        (dict(neg_std=-0.5), 'neg_std must be finite .* but got -0.5'),
        (dict(neg_std=float('inf')), 'neg_std must be finite .* but got inf'),
        (dict(neg_std=float('nan')), 'neg_std must be finite .* but got nan'),
        (dict(pos_std=1.2), r'pos_std must be in \[0, neg_std=1.0\)'),
        (dict(min_std=1.0), r'min_std must be in \(0, neg_std=1.0\)'),
        (dict(pos_std=-1), r'pos_std must be in \[0, .*but got -1'),
        (dict(pos_std=1.0), r'pos_std must be in \[0, neg_std=1.0\)'),
        (dict(min_std=0), r'min_std must be in \(0, neg_std=1.0\)'),
        (dict(pos_topk=-1), 'pos_topk must be an integer >= 0, but got -1'),
        (dict(pos_topk=0.5), 'pos_topk must be .* but got 0.5'),
        (dict(std_scale=0), 'std_scale must be > 0 and finite, but got 0'),
        (dict(std_scale=math.nan), 'std_scale must be .* but got nan'),
        (dict(neg_divergence='both'), "neg_divergence .* got 'both'"),
        (dict(reg_decoded_bbox=True), 'reg_decoded_bbox must be False'),
        (
            dict(bbox_coder=dict(type='TBLRBBoxCoder')),
            "bbox_coder must be a DeltaXYWHBBoxCoder.*'TBLRBBoxCoder'",
        ),
        (dict(num_classes=2), 'num_classes must be 1, but got 2'),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        build_head(**options)
