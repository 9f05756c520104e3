"""The second look against loops over boxes, written from its description."""

import pytest
import torch
from mmcv.ops import roi_align
from mmdet.structures.bbox import bbox_overlaps
from test_kl_rpn_head import (
    ONE,
    SHAPE,
    STRIDES,
    TEST_CFG,
    TWO,
    assert_gradients_reach_all,
    build_head,
    features,
    instances,
    metas,
)
from torch.nn.functional import binary_cross_entropy_with_logits, relu

from mmdet_klrpn.models import KLRPNHead, SparseRPNHead
from mmdet_klrpn.models.dense_heads import second_look_mixin
from mmdet_klrpn.models.dense_heads.second_look import Boxes

HEADS = (KLRPNHead, SparseRPNHead)


def head_of(cls=KLRPNHead, **second_look):
    """A head of which the second offsets are small, and scores are not."""
    head = build_head(cls, second_look=second_look)
    # Boxes little away from their anchors.
    torch.nn.init.normal_(head.rpn_reg.weight, std=0.03)
    torch.nn.init.zeros_(head.rpn_reg.bias)
    for parameter in head.second_look.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return head


def predict_alone(look, levels, box, image, level):
    """Logits and offsets of one box, by mmcv's pooling."""
    roi = torch.tensor([[image, *box.tolist()]])
    scale = 1 / STRIDES[level]
    x = roi_align(levels[level], roi, 3, scale, 2, 'avg', True)
    x = relu(look.fc(x.flatten(1)))
    return look.cls(x)[0], look.reg(x)[0]


def test_each_box_is_pooled_from_its_level_and_image():
    look, levels = head_of().second_look, features(2)
    generator = torch.Generator().manual_seed(1)
    corners = 60 * torch.rand((7, 4), generator=generator)
    boxes = torch.cat([corners[:, :2], corners[:, :2] + corners[:, 2:]], 1)
    images = torch.tensor([0, 1, 1, 0, 0, 1, 0])
    level_ids = torch.tensor([1, 0, 1, 1, 0, 1, 0])
    found = look(levels, Boxes(boxes, images, level_ids))
    for i in range(len(boxes)):
        wanted = predict_alone(
            look, levels, boxes[i], int(images[i]), int(level_ids[i])
        )
        for value, reference in zip(found, wanted):
            torch.testing.assert_close(value[i], reference)


def test_a_level_without_boxes_is_none_of_its_business():
    look, levels = head_of().second_look, features()
    boxes = torch.tensor([[0.0, 0.0, 20.0, 20.0]])
    rois = Boxes(boxes, torch.tensor([0]), torch.tensor([0]))
    logits, deltas = look(levels, rois)
    assert (logits.shape, deltas.shape) == ((1, 1), (1, 4))
    none = look(levels, Boxes(*(part[:0] for part in rois)))
    assert [len(x) for x in none] == [0, 0]


@pytest.mark.parametrize('cls', HEADS)
@pytest.mark.parametrize('num', [1, 40, 10_000])
@torch.no_grad()
def test_candidates_equal_those_of_a_loop(cls, num):
    head, levels = head_of(cls, num=num, power=0.7), features(2)
    outs = head(levels)
    wanted, given = (
        head._candidates(*outs[:2], metas(2), -1) for _ in range(2)
    )
    count = len(wanted) // 2
    for image in range(2):
        rows = range(image * count, (image + 1) * count)
        scores = wanted.scores[rows.start : rows.stop].clone()
        best = scores.argsort(descending=True)[:num].tolist()
        for i in rows:
            if i - rows.start not in best:
                wanted.scores[i] *= 0.01**0.7
                continue
            box = wanted.bboxes[i]
            logits, delta = predict_alone(
                head.second_look, levels, box, image, int(wanted.level_ids[i])
            )
            own = head._describe(box[None], delta[None], logits[None])
            wanted.bboxes[i] = head.bbox_coder.decode(
                box[None], delta[None], max_shape=SHAPE
            )[0]
            wanted.scores[i] *= own['scores'][0] ** 0.7
            if cls is KLRPNHead:
                wanted.bbox_stds[i] = own['bbox_stds'][0]
    found = head._look_again(given, levels, metas(2))
    assert set(found.keys()) == set(wanted.keys())
    for name, value in wanted.items():
        torch.testing.assert_close(
            found[name], value, atol=1e-4, rtol=1e-4, msg=name
        )


@torch.no_grad()
def test_proposals_are_of_the_second_look():
    head, levels = head_of(), features(2)
    outs = head(levels)
    found = head._candidates(*outs[:2], metas(2), TEST_CFG.nms_pre)
    found = head._look_again(found, levels, metas(2))
    count = len(found) // 2
    for image, own in enumerate(
        head.predict_by_feat(*outs, batch_img_metas=metas(2), rescale=True)
    ):
        best = found[image * count : (image + 1) * count]
        best = best[best.scores.argmax()[None]]
        scale = torch.tensor([2.0, 4.0, 2.0, 4.0])  # of `metas`
        torch.testing.assert_close(own.bboxes[:1], best.bboxes / scale)
        torch.testing.assert_close(own.bbox_stds[:1], best.bbox_stds / scale)
        torch.testing.assert_close(own.scores[:1], best.scores)


def targets_by_loop(head, outs, objects, image, best):
    """Boxes of an image that are trained on, and the object of each or None.

    The best by score, then those of sampled positives, all without NMS.
    """
    grid, samples = head.sample_anchors(outs[0], objects, metas(len(objects)))
    _, deltas = grid.gather(samples.images, samples.anchors, *outs[:2])
    rows = []
    results = head._candidates(*outs[:2], metas(len(objects)), -1)
    count = len(results) // len(objects)
    results = results[image * count : (image + 1) * count]
    for i in results.scores.argsort(descending=True)[:best].tolist():
        rows.append((results.bboxes[i], int(results.level_ids[i])))
    for i in range(len(samples.targets)):
        if samples.images[i] == image:
            anchor = samples.anchors.select(slice(i, i + 1))
            box = head.bbox_coder.decode(grid.boxes(anchor), deltas[i : i + 1])
            rows.append((box[0], int(grid.levels[anchor.base])))
    for box, level in rows:
        target = None
        if len(objects[image]):
            ious = bbox_overlaps(box[None], objects[image].bboxes)[0]
            if ious.max() >= 0.5:
                target = objects[image].bboxes[ious.argmax()]
        yield box, level, target


def near_the_best(head, outs, image, count):
    """Objects little beside the boxes that the first look is sure of."""
    found = head._candidates(*outs[:2], metas(2), -1)
    rows = len(found) // 2
    found = found[image * rows : (image + 1) * rows]
    best = found.scores.argsort(descending=True)[: 3 * count : 3]
    return instances(*(found.bboxes[best] + 1.5).tolist())


@pytest.mark.parametrize('cls', HEADS)
def test_losses_equal_those_of_a_loop(cls, monkeypatch):
    monkeypatch.setattr(second_look_mixin, '_NUM_TRAINED', 20)
    head, levels = head_of(cls), features(2)
    outs = head(levels)
    with torch.no_grad():
        objects = [near_the_best(head, outs, i, 3 - 2 * i) for i in range(2)]
    losses = head.loss_by_feat(*outs, objects, metas(2))
    total, boxes, number, num_pos = 0, 0, 0, 0
    with torch.no_grad():
        rows = [
            (image, *row)
            for image in range(2)
            for row in targets_by_loop(head, outs, objects, image, 20)
        ]
    for image, box, level, target in rows:
        logits, delta = predict_alone(
            head.second_look, levels, box, image, level
        )
        number += 1
        if target is not None:
            num_pos += 1
            offsets = head.bbox_coder.encode(box[None], target[None])[0]
            if cls is KLRPNHead:
                boxes = boxes + head.loss_mean(
                    delta, offsets, reduction_override='sum'
                )
            else:
                boxes = boxes + 3 * (delta - offsets).abs().sum()
        if cls is KLRPNHead:
            std = head.log_variances(logits).mul(0.5).exp().expand(4)
            predicted = torch.distributions.Normal(delta.detach(), std)
            aim = (offsets, 0.2) if target is not None else (delta.detach(), 1)
            aim = torch.distributions.Normal(*aim)
            total = (
                total + torch.distributions.kl_divergence(aim, predicted).sum()
            )
        else:
            aim = torch.full((1,), float(target is not None))
            total = total + binary_cross_entropy_with_logits(logits, aim)
    assert 0 < num_pos < number
    found = {k: v for k, v in losses.items() if 'second' in k}
    moved = 'mean' if cls is KLRPNHead else 'bbox'
    moved = found.pop(f'loss_rpn_second_{moved}')
    torch.testing.assert_close(moved, boxes / number)
    torch.testing.assert_close(sum(found.values()), total / number)


@pytest.mark.parametrize('cls', HEADS)
@pytest.mark.parametrize(
    'objects', [[ONE, TWO], [ONE, instances()], [instances(), instances()]]
)
def test_every_weight_has_a_gradient(cls, objects):
    head = head_of(cls)
    losses = head.loss_by_feat(*head(features(2)), objects, metas(2))
    assert_gradients_reach_all(head, losses)


def test_gradients_stop_at_the_boxes():
    """The first look learns from its own losses alone."""
    head = head_of()
    losses = head.loss_by_feat(*head(features()), [TWO], metas())
    sum(v for k, v in losses.items() if 'loss_rpn_second' in k).backward()
    assert head.rpn_cls.weight.grad is None
    assert head.rpn_reg.weight.grad is None


def test_the_first_look_is_what_it_would_be_alone():
    alone, head = build_head(), head_of()
    head.load_state_dict(alone.state_dict(), strict=False)
    args = [TWO], metas()
    wanted = alone.loss_by_feat(*alone(features()), *args)
    found = head.loss_by_feat(*head(features()), *args)
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, msg=name)


def test_boxes_that_are_not_finite_are_dropped_in_a_test():
    head, levels = head_of(), features()
    levels[0][0, 0, 0, 0] = torch.nan
    results = head.eval().predict_by_feat(
        *head(levels), batch_img_metas=metas()
    )
    assert len(results[0]) > 0
    for value in results[0].values():
        assert torch.isfinite(value).all()


def test_training_stops_where_the_second_look_is_not_finite():
    head = head_of()
    torch.nn.init.constant_(head.second_look.cls.bias, torch.nan)
    with pytest.raises(FloatingPointError, match='loss_rpn_second_neg'):
        head.loss_by_feat(*head(features()), [TWO], metas())


def test_weights_without_a_second_look_load():
    state = build_head().state_dict()
    missing, unexpected = head_of().load_state_dict(state, strict=False)
    assert {name.split('.')[0] for name in missing} == {'second_look'}
    assert not unexpected


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(num=0), 'second_look.num must be an integer >= 1, but got 0'),
        (dict(power=-1.0), 'second_look.power must be .* >= 0, but got -1'),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        build_head(second_look=options)


def test_decoded_boxes_are_not_regressed():
    with pytest.raises(ValueError, match='reg_decoded_bbox must be False'):
        build_head(SparseRPNHead, second_look={}, reg_decoded_bbox=True)


@torch.no_grad()
def test_boxes_may_have_a_type():
    plain, typed = head_of(), head_of()
    typed.bbox_coder.use_box_type = True
    plain, typed = (
        head.predict_by_feat(*head(features(2)), batch_img_metas=metas(2))
        for head in (plain, typed)
    )
    for own, wanted in zip(typed, plain):
        assert torch.equal(own.bboxes.tensor, wanted.bboxes)
