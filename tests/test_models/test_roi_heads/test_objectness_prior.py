"""The second stage's prior, which it learns of the proposals' scores."""

import pytest
import torch
from mmdet.structures.bbox import bbox2roi, bbox_overlaps
from mmengine.structures import InstanceData
from test_objectness_roi_head import build, predict
from test_rfcn_roi_head import features, proposals, sample

from mmdet_klrpn.models.roi_heads import ObjectnessPrior

KINDS = ['RFCNRoIHead', 'ObjectnessRoIHead']


def build_prior(kind='ObjectnessRoIHead', **options):
    """A head with a prior whose weights were drawn."""
    # Of 32 RoIs all that are on objects are sampled, and some that are not.
    return build(kind, num=24, objectness_prior=True, **options)


def images():
    """Two images, each with two objects that some proposals are near."""
    samples, found = [], []
    for i in range(2):
        boxes = proposals(30 + i).bboxes
        samples.append(sample(boxes[:2].tolist()))
        boxes[:2] += 30
        near = samples[i].gt_instances.bboxes[:1]
        boxes[5:9] = near + torch.arange(1, 5)[:, None]
        scores = torch.linspace(0.1, 0.9, 30 + i)
        found.append(InstanceData(bboxes=boxes, scores=scores))
    return samples, found


def test_adds_a_function_of_the_score():
    torch.manual_seed(0)
    prior = ObjectnessPrior(num_classes=2)
    for parameter in prior.parameters():
        torch.nn.init.normal_(parameter)
    logits = torch.randn(20, 3)
    scores = torch.rand(20) * 0.9 + 0.05
    odds = (scores / (1 - scores)).log()
    hidden = odds[:, None] * prior.hidden.weight[:, 0] + prior.hidden.bias
    added = hidden.clamp(min=0) @ prior.output.weight.T + prior.output.bias
    torch.testing.assert_close(prior(logits, scores), logits + added)


@pytest.mark.parametrize('dtype', [torch.float16, torch.float32])
def test_extremes_stay_finite(dtype):
    prior = ObjectnessPrior(num_classes=1)
    prior.init_weights()
    torch.nn.init.normal_(prior.output.weight)
    logits = torch.zeros(4, 2, dtype=dtype)
    found = prior(logits, torch.tensor([0.0, 1.0, 1e-9, 0.999], dtype=dtype))
    assert found.dtype == torch.float32
    assert torch.isfinite(found).all()
    assert torch.equal(found[0], found[2])  # as good as no score


@pytest.mark.parametrize('kind', KINDS)
def test_begins_as_the_head_without_it(kind):
    head = build_prior(kind, objectness_power=1.0)
    head.objectness_prior.init_weights()
    boxes = [proposals(9)]
    (ours,) = predict(head, boxes)
    plain = build(kind, objectness_power=1.0)
    weights = head.state_dict()
    plain.load_state_dict({k: weights[k] for k in plain.state_dict()})
    (theirs,) = predict(plain, boxes)
    torch.testing.assert_close(ours.scores, theirs.scores)
    assert torch.equal(ours.bboxes, theirs.bboxes)


@pytest.mark.parametrize('kind', KINDS)
def test_prior_comes_before_the_power(kind):
    head = build_prior(kind, objectness_power=0.0)
    boxes = [proposals(9)]
    (before,) = predict(head, boxes)
    head.objectness_power = 2.0
    (after,) = predict(head, boxes)
    expected = before.scores[:, :-1] * boxes[0].scores[:, None] ** 2
    torch.testing.assert_close(after.scores[:, :-1], expected)
    prior, head.objectness_prior = head.objectness_prior, None
    head.objectness_power = 0.0
    (plain,) = predict(head, boxes)
    logits = prior(plain.scores.log(), boxes[0].scores)
    torch.testing.assert_close(logits.softmax(dim=1), before.scores)


@pytest.mark.parametrize('with_objects', [True, False])
@pytest.mark.parametrize('kind', KINDS)
def test_each_region_learns_with_the_score_of_its_own(kind, with_objects):
    head = build_prior(kind, objectness_power=1.0)
    head.bbox_sampler.add_gt_as_proposals = with_objects
    samples, found = images()
    scores = [
        {tuple(box.tolist()): score for box, score in zip(x.bboxes, x.scores)}
        for x in found
    ]
    objects = set()
    for i, image in enumerate(samples):
        for box in image.gt_instances.bboxes:
            nearest = bbox_overlaps(box[None], found[i].bboxes).argmax()
            scores[i][tuple(box.tolist())] = found[i].scores[nearest]
            objects.add((i, *box.tolist()))
    seen, drawn = [], []
    head.objectness_prior.register_forward_hook(
        lambda module, args, output: seen.append(args[1])
    )
    forward = head._bbox_forward

    def spy(x, rois):
        drawn.append(rois)
        return forward(x, rois)

    head._bbox_forward = spy
    losses = head.loss(features(2), found, samples)
    ((objectness,), (rois,)) = seen, drawn
    assert set(rois[:, 0].tolist()) == {0.0, 1.0}
    expected = [scores[int(r[0])][tuple(r[1:].tolist())] for r in rois]
    assert torch.equal(objectness, torch.stack(expected))
    assert len(set(objectness.tolist())) > 5
    drawn_objects = objects & {tuple(roi.tolist()) for roi in rois}
    assert bool(drawn_objects) == with_objects

    sum(v for k, v in losses.items() if 'loss' in k).backward()
    for name, parameter in head.objectness_prior.named_parameters():
        assert parameter.grad.abs().sum() > 0, name


def test_a_score_gets_no_gradient():
    head = build_prior()
    samples, found = images()
    for proposal in found:
        proposal.scores.requires_grad_()
    given_scores = [proposal.scores for proposal in found]
    head.loss(features(2), found, samples)['loss_cls'].backward()
    assert all(scores.grad is None for scores in given_scores)


def test_learns_what_the_score_alone_tells():
    """The features know nothing: only who sees the scores can classify."""
    torch.manual_seed(0)
    scores = torch.rand(400)
    labels = (scores < 0.3).long() + (scores < 0.6).long()
    prior = ObjectnessPrior(num_classes=2)
    prior.init_weights()
    optimizer = torch.optim.Adam(prior.parameters(), lr=0.05)
    for _ in range(200):
        logits = prior(torch.zeros(400, 3), scores)
        loss = torch.nn.functional.cross_entropy(logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert (logits.argmax(dim=1) == labels).float().mean() > 0.95


def test_no_proposal_is_no_error():
    head = build_prior()
    samples, found = images()
    assert len(predict(head, [found[0][:0]])[0].bboxes) == 0
    losses = head.loss(features(2), [x[:0] for x in found], samples)
    assert torch.isfinite(losses['loss_cls'])  # of the objects
    empty = [sample(), sample()]
    losses = head.loss(features(2), [x[:0] for x in images()[1]], empty)
    assert losses['loss_bbox'] == 0


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize(
    'options',
    [
        dict(objectness_power=2.0),
        dict(objectness_power=0.0, objectness_prior=True),
        dict(objectness_power=0.5, objectness_prior=True),
    ],
)
@torch.no_grad()
def test_the_raw_outputs_are_those_that_prediction_uses(kind, options):
    head = build(kind, **options)
    given = [proposals(5), proposals(7)[2:]]
    predicted = predict(head, given)
    logits, offsets = head.forward(features(2), given)
    rois = bbox2roi([own.bboxes for own in given])
    plain = build(kind, objectness_power=0.0)
    plain.load_state_dict(head.state_dict(), strict=False)
    plain = plain._bbox_forward(features(2), rois)
    assert (logits - plain['cls_score']).abs().max() > 0.01
    assert torch.equal(offsets, plain['bbox_pred'])
    scores = torch.cat([own.scores for own in predicted])
    torch.testing.assert_close(logits.softmax(dim=1), scores)


@pytest.mark.parametrize('kind', KINDS)
@torch.no_grad()
def test_a_call_within_a_call_changes_neither(kind):
    head = build_prior(kind, objectness_power=1.0)
    outer, inner = [proposals(9)], [proposals(9)[4:]]
    expected = predict(head, outer)[0].scores, predict(head, inner)[0].scores
    state, results = dict(vars(head)), []

    def once(*args):
        handle.remove()
        results.append(predict(head, inner)[0].scores)

    handle = head.bbox_head.register_forward_hook(once)
    results.insert(0, predict(head, outer)[0].scores)
    assert torch.equal(results[0], expected[0])
    assert torch.equal(results[1], expected[1])
    samples, found = images()
    head.loss(features(2), found, samples)
    assert vars(head) == state  # nothing is kept


@pytest.mark.parametrize('kind', KINDS)
@torch.no_grad()
def test_regions_without_scores_count_as_sure_everywhere(kind):
    """SoftTeacher gives scores to neither of student and teacher."""
    head = build_prior(kind, objectness_power=2.0)
    samples, found = images()
    head.loss(features(2), found, samples)  # leaves no scores behind
    given = [proposals(9)]
    rois = bbox2roi([given[0].bboxes])
    student = head._bbox_forward(features(), rois)['cls_score']
    (teacher,) = predict(head, [InstanceData(bboxes=given[0].bboxes)])
    torch.testing.assert_close(student.softmax(dim=1), teacher.scores)
    sure = InstanceData(bboxes=given[0].bboxes, scores=torch.ones(9))
    assert torch.equal(predict(head, [sure])[0].scores, teacher.scores)
    assert not torch.equal(predict(head, given)[0].scores, teacher.scores)


def test_refuses_regions_whose_scores_are_not_known():
    with pytest.raises(ValueError, match='must be False with OHEMSampler'):
        build_prior(sampler='OHEMSampler')
    parts = dict(
        pos_sampler=dict(type='RandomSampler'),
        neg_sampler=dict(type='OHEMSampler'),
    )
    mixed = dict(type='CombinedSampler', num=9, pos_fraction=0.5, **parts)
    with pytest.raises(ValueError, match='must be False with OHEMSampler'):
        build_prior(sampler=mixed)
    seesaw = dict(loss_cls=dict(type='SeesawLoss', num_classes=2))
    with pytest.raises(ValueError, match='prior must be False with Seesaw'):
        build_prior(bbox_head=seesaw, objectness_power=0.0)
