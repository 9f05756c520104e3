"""What training meets in the wild, and what the head makes of it."""

import copy

import pytest
import torch
from conftest import warnings_logged
from mmengine.structures import InstanceData
from test_kl_rpn_head import (
    ONE,
    SHAPE,
    STRIDES,
    TEST_CFG,
    TRAIN_CFG,
    TWO,
    assert_gradients_reach_all,
    build_head,
    features,
    instances,
    metas,
)

from mmdet_klrpn.models import KLRPNHead, SparseRPNHead
from mmdet_klrpn.models.dense_heads.finite import MAX_SKIPPED

HEADS = pytest.mark.parametrize('cls', [KLRPNHead, SparseRPNHead])


def losses_of(head, batch_gt_instances, outs=None):
    images = len(batch_gt_instances)
    outs = head(features(images)) if outs is None else outs
    return head.loss_by_feat(*outs, batch_gt_instances, metas(images))


def test_no_object_in_any_image():
    head = build_head()
    losses = losses_of(head, [instances(), instances()])
    assert losses['loss_rpn_pos'] == 0
    assert losses['loss_rpn_neg'] > 0
    assert_gradients_reach_all(head, losses)
    # Negatives do not move the means.
    assert (head.rpn_reg.weight.grad == 0).all()
    assert (head.rpn_cls.weight.grad != 0).any()


@pytest.mark.parametrize(
    'box',
    [
        pytest.param([30, 20, 30, 40], id='no width'),
        pytest.param([30, 20, 50, 20], id='no height'),
        pytest.param([40, 40, 20, 20], id='turned'),
        pytest.param([500, 500, 560, 560], id='outside the image'),
    ],
)
def test_a_box_that_no_anchor_can_match_changes_nothing(box):
    """It is no object: it makes no positive, and no negative either."""
    head = build_head()
    alone = losses_of(head, [TWO])
    beside = losses_of(head, [instances(*TWO.bboxes.tolist(), box)])
    for name, value in alone.items():
        torch.testing.assert_close(beside[name], value)
    assert_gradients_reach_all(head, beside)


def test_a_box_half_outside_is_an_object():
    head = build_head()
    losses = losses_of(head, [instances([70, 30, 130, 80])])
    assert losses['rpn_num_pos'] > 0
    assert_gradients_reach_all(head, losses)


@HEADS
@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_a_box_that_is_not_finite_is_named(cls, value):
    head = build_head(cls)
    img_metas = metas(2)
    img_metas[1].update(img_id=42, img_path='trees/42.png')
    boxes = instances([10, 10, 40, 35], [50, value, 90, 60])
    message = r'box 1 of image 42 \(trees/42\.png\) must be finite'
    with pytest.raises(ValueError, match=message):
        head.loss_by_feat(*head(features(2)), [ONE, boxes], img_metas)


def test_two_thousand_objects():
    head = build_head()
    torch.manual_seed(1)
    corners = torch.rand(2000, 2) * torch.tensor([60.0, 30.0])
    boxes = torch.cat([corners, corners + 5 + torch.rand(2000, 2) * 30], 1)
    crowd = InstanceData(bboxes=boxes, labels=torch.zeros(2000).long())
    losses = losses_of(head, [crowd])
    assert losses['rpn_num_pos'] > 50
    assert_gradients_reach_all(head, losses)


def test_an_image_smaller_than_any_anchor():
    """Feature maps of one cell, anchors of 24 and 48 pixels, 8 x 8 image."""
    head = build_head()
    x = tuple(torch.randn(1, 8, 1, 1) for _ in STRIDES)
    img_metas = [dict(img_shape=(8, 8), pad_shape=(8, 8), scale_factor=(1, 1))]
    outs = head(x)
    losses = head.loss_by_feat(*outs, [instances([0, 0, 8, 8])], img_metas)
    assert_gradients_reach_all(head, losses)
    (proposals,) = head.predict_by_feat(*outs, batch_img_metas=img_metas)
    assert 0 < len(proposals) <= 6
    assert proposals.bboxes.min() >= 0
    assert proposals.bboxes.max() <= 8


@pytest.mark.parametrize('logit', [1e4, -1e4])
@pytest.mark.parametrize('divergence', ['forward', 'reverse'])
@pytest.mark.parametrize('pos_std', [0.0, 0.1])
@pytest.mark.parametrize('loss_mean', [None, dict(type='L1Loss')])
def test_absurd_logits_have_a_finite_loss_and_gradient(
    logit, divergence, pos_std, loss_mean
):
    head = build_head(
        neg_divergence=divergence, pos_std=pos_std, loss_mean=loss_mean
    )
    logits, means = head(features())
    logits = [
        torch.full_like(level, logit).requires_grad_() for level in logits
    ]
    means = [(1e2 * level).detach().requires_grad_() for level in means]
    losses = losses_of(head, [TWO], (logits, means))
    sum(v for name, v in losses.items() if 'loss' in name).backward()
    for level in (*logits, *means):
        assert torch.isfinite(level.grad).all()
    (proposals,) = head.predict_by_feat(logits, means, batch_img_metas=metas())
    for field in ('bboxes', 'bbox_stds', 'scores'):
        assert torch.isfinite(proposals[field]).all(), field


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_offsets_in_half_precision_cost_their_rounding_only(dtype):
    """Autocast gives offsets in half, beside logits in float32."""
    head = build_head()
    logits, means = head(features())
    half = [level.detach().to(dtype) for level in means]
    rounded = [level.float() for level in half]
    expected = losses_of(head, [TWO], (logits, rounded))
    for name, value in losses_of(head, [TWO], (logits, half)).items():
        torch.testing.assert_close(value, expected[name])
    (mine,), (plain,) = (
        head.predict_by_feat(logits, x, batch_img_metas=metas())
        for x in (half, rounded)
    )
    for field in ('bboxes', 'bbox_stds', 'scores'):
        torch.testing.assert_close(mine[field], plain[field])


def test_bfloat16_head_agrees_with_float32_within_its_precision():
    head = build_head()
    expected = losses_of(head, [TWO])
    with torch.autocast('cpu', torch.bfloat16):
        losses = losses_of(head, [TWO])
    for name in ('loss_rpn_pos', 'loss_rpn_neg'):
        torch.testing.assert_close(
            losses[name], expected[name], rtol=0.02, atol=0.01
        )


def test_a_diverged_network_stops_the_training_with_advice():
    head = build_head()
    with torch.no_grad():
        head.rpn_reg.bias[0] = float('nan')
    message = r'loss_rpn_neg.*nan.* optim_wrapper\.clip_grad.*min_std=0\.03'
    with pytest.raises(FloatingPointError, match=message):
        losses_of(head, [TWO])


@HEADS
@pytest.mark.parametrize('value', [float('nan'), float('inf'), -float('inf')])
@pytest.mark.parametrize('layer', ['rpn_cls', 'rpn_reg', 'rpn_conv'])
@pytest.mark.parametrize('nms', ['nms', 'soft_nms'])
def test_proposals_that_are_not_finite_stop_the_training(
    cls, value, layer, nms
):
    """Of one image, by any kind of NMS, in training."""
    cfg = copy.deepcopy(TEST_CFG)
    cfg.nms.type = nms
    head = build_head(cls)
    outs = head(features(2))
    with torch.no_grad():
        getattr(head, layer).weight.view(-1)[0] = value
    broken = head(features(2))
    mixed = [
        [torch.cat([x[:1], y[1:]]) for x, y in zip(*maps)]
        for maps in zip(outs, broken)
    ]
    img_metas = metas(2)
    img_metas[1].update(img_id=42, img_path='trees/42.png')
    message = r'proposals of image 42 \(trees/42\.png\) are not finite.*optim'
    with pytest.raises(FloatingPointError, match=message):
        head.predict_by_feat(*mixed, batch_img_metas=img_metas, cfg=cfg)


@HEADS
@pytest.mark.parametrize('min_bbox_size', [-1, 0, 5])
def test_a_prediction_that_is_no_proposal_may_be_anything(cls, min_bbox_size):
    """Offsets of an anchor whose score keeps it out of NMS."""
    head = build_head(cls)
    cfg = copy.deepcopy(TEST_CFG)
    cfg.update(nms_pre=5, min_bbox_size=min_bbox_size)
    scores, deltas = head(features())
    for level in scores:
        level.data[..., 0, 0] = -1e4
    expected = head.predict_by_feat(
        scores, deltas, batch_img_metas=metas(), cfg=cfg
    )
    assert len(expected[0]) > 0
    for level in deltas:
        level.data[..., 0, 0] = float('nan')
    (proposals,) = head.predict_by_feat(
        scores, deltas, batch_img_metas=metas(), cfg=cfg
    )
    for field, values in proposals.items():
        assert torch.equal(values, expected[0][field]), field


def spoiled(outs, value, maps, image=1):
    """Copies of predictions, half of an image's best anchors not finite."""
    outs = [[level.clone() for level in x] for x in outs]
    for level in outs[maps]:
        level[image, ..., ::2] = value
    return outs


NOT_FINITE = pytest.mark.parametrize(
    'value', [float('nan'), float('inf'), -float('inf')]
)


@HEADS
@NOT_FINITE
@pytest.mark.parametrize('maps', [0, 1], ids=['scores', 'offsets'])
@pytest.mark.parametrize('options', [dict(), dict(nms='soft_nms')])
def test_a_test_drops_boxes_that_are_not_finite_and_no_other(
    cls, value, maps, options
):
    """As if their scores were too low; there are enough of the others."""
    cfg = copy.deepcopy(TEST_CFG)
    cfg.update(nms_pre=9)
    cfg.nms.type = options.get('nms', 'nms')
    head = build_head(cls).eval()
    with torch.no_grad():
        outs = head(features(2))
        # The best of all anchors, where they are finite.
        for level in outs[0]:
            level[..., ::2] += 3
        low = spoiled(outs, -1e4, 0)
        results = [
            head.predict_by_feat(*x, batch_img_metas=metas(2), cfg=cfg)
            for x in (spoiled(outs, value, maps), low, outs)
        ]
    assert len(results[0][1]) > 0
    for image, (ours, expected) in enumerate(zip(*results[:2])):
        for field, values in ours.items():
            assert torch.equal(values, expected[field]), (image, field)
    assert torch.equal(results[0][0].bboxes, results[2][0].bboxes)
    assert not torch.equal(results[0][1].bboxes, results[2][1].bboxes)


@HEADS
@pytest.mark.parametrize('nms', ['nms', 'soft_nms'])
def test_a_test_of_a_diverged_network_has_no_box_and_says_so_once(cls, nms):
    cfg = copy.deepcopy(TEST_CFG)
    cfg.nms.type = nms
    head = build_head(cls).eval()
    torch.nn.init.constant_(head.rpn_conv.weight, float('nan'))
    img_metas = metas(2)
    img_metas[0].update(img_id=42, img_path='trees/42.png')
    with warnings_logged() as lines:
        results = [
            proposals
            for _ in range(2)
            for proposals in head.predict_by_feat(
                *head(features(2)), batch_img_metas=img_metas, cfg=cfg
            )
        ]
    for proposals in results:
        assert proposals.bboxes.shape == (0, 4)
        assert proposals.scores.shape == (0,)
    (line,) = lines
    assert 'proposals of image 42 (trees/42.png) are not finite' in line


@HEADS
def test_losses_that_are_not_finite_stop_the_training(cls):
    head = build_head(cls)
    torch.nn.init.constant_(head.rpn_cls.bias, float('nan'))
    with pytest.raises(FloatingPointError, match=r'loss.*nan.*clip_grad'):
        losses_of(head, [TWO])
    if cls is SparseRPNHead:
        head = build_head(cls, reg_decoded_bbox=True)
        torch.nn.init.constant_(head.rpn_cls.bias, float('nan'))
        with pytest.raises(FloatingPointError, match=r'loss_rpn_cls.*nan'):
            losses_of(head, [TWO])


@HEADS
def test_a_scaler_may_skip_steps_but_not_many_in_a_row(cls):
    """Under autocast NaN is left to it; a finite step starts anew."""
    head = build_head(cls)
    broken = copy.deepcopy(head.state_dict())
    broken['rpn_cls.bias'][0] = float('nan')
    good = copy.deepcopy(head.state_dict())

    def step(weights):
        head.load_state_dict(weights)
        with torch.autocast('cpu', torch.bfloat16):
            outs = head(features())
            losses = losses_of(head, [TWO], outs)
            # torchvision's NMS knows no bfloat16 on a CPU.
            outs = [[level.float() for level in x] for x in outs]
            proposals = head.predict_by_feat(*outs, batch_img_metas=metas())
        assert torch.isfinite(proposals[0].bboxes).all()
        assert len(proposals[0]) > 0
        return sum(v for k, v in losses.items() if 'loss' in k)

    with warnings_logged() as lines:
        for _ in range(MAX_SKIPPED):
            loss = step(broken)
            assert torch.isnan(loss)
        loss.backward()
        assert torch.isnan(head.rpn_conv.weight.grad).any()
        assert torch.isfinite(step(good))
        for _ in range(MAX_SKIPPED):
            step(broken)
        with pytest.raises(FloatingPointError, match=r'diverged.*nan'):
            step(broken)
    skips = [line for line in lines if 'the gradient scaler skips' in line]
    assert len(skips) == 2 * MAX_SKIPPED == len(lines) - 1


def test_sampler_takes_every_anchor_in_these_tests():
    """Else the dice would differ where batches are compared."""
    anchors = 3 * sum(SHAPE[0] * SHAPE[1] // s**2 for s in STRIDES)
    assert TRAIN_CFG.sampler.num * TRAIN_CFG.sampler.pos_fraction > anchors
