"""Heads that compute what matters against those that compute everything."""

import copy
import warnings

import pytest
import torch
from fake_device import FakeDevice
from mmdet.models.dense_heads import RPNHead
from mmdet.models.task_modules.assigners import MaxIoUAssigner
from mmdet.models.task_modules.prior_generators import AnchorGenerator
from mmdet.models.task_modules.samplers import RandomSampler
from mmdet.registry import TASK_UTILS
from mmdet.structures.bbox import bbox_overlaps
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from tiny_detectors import faster_rcnn

from mmdet_klrpn.models import KLRPNHead, SparseRPNHead
from mmdet_klrpn.models.dense_heads import sparse_sampling
from mmdet_klrpn.models.dense_heads.log_variance import objectness
from mmdet_klrpn.models.task_modules import decode_delta_xywh_stds

STRIDES = [4, 8, 16, 32]
SHAPE = (160, 224)
TRAIN_CFG = faster_rcnn('model.train_cfg.rpn', {'sampler.num': 64})
TEST_CFG = faster_rcnn(
    'model.test_cfg.rpn', dict(nms_pre=200, max_per_img=100)
)


@TASK_UTILS.register_module()
class AnotherRandomSampler(RandomSampler):
    """Not the type that is known, so that heads take mmdet's path."""


@TASK_UTILS.register_module()
class AnotherAssigner(MaxIoUAssigner):
    """Likewise."""


def build_head(cls, train_cfg=None, strides=STRIDES, test_cfg=None, **kwargs):
    torch.manual_seed(0)
    return cls(
        in_channels=8,
        feat_channels=8,
        anchor_generator=dict(
            type='AnchorGenerator',
            scales=[4],
            ratios=[0.5, 1.0, 2.0],
            strides=strides,
        ),
        train_cfg=ConfigDict({**TRAIN_CFG, **(train_cfg or {})}),
        test_cfg=ConfigDict({**TEST_CFG, **(test_cfg or {})}),
        **kwargs,
    )


def build_pair(cls, train_cfg=None, **kwargs):
    """A head, and one with the same losses by mmdet's own targets."""
    train_cfg = copy.deepcopy({**TRAIN_CFG, **(train_cfg or {})})
    if cls is SparseRPNHead:
        return [build_head(x, train_cfg, **kwargs) for x in (cls, RPNHead)]
    # KLRPNHead draws other anchors than the sampler: it is given all.
    if train_cfg['sampler']['type'] == 'RandomSampler':
        train_cfg['sampler']['num'] = 1_000_000
    head = build_head(cls, train_cfg, **kwargs)
    if train_cfg['sampler']['type'] == 'RandomSampler':
        train_cfg['sampler']['type'] = 'AnotherRandomSampler'
    return head, build_head(cls, train_cfg, **kwargs)


def predictions(head, images=2, shape=SHAPE, strides=STRIDES):
    generator = torch.Generator().manual_seed(0)
    outs = []
    for channels in (head.cls_out_channels, 4):
        outs.append(
            [
                torch.randn(
                    (
                        images,
                        3 * channels,
                        -(-shape[0] // s),
                        -(-shape[1] // s),
                    ),
                    generator=generator,
                )
                for s in strides
            ]
        )
    return outs


def metas(*pad_shapes):
    return [
        dict(img_shape=shape, pad_shape=shape, scale_factor=(0.5, 0.8))
        for shape in pad_shapes or (SHAPE, SHAPE)
    ]


def instances(count, seed=0, **fields):
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand((count, 2), generator=generator) * 150
    sides = (torch.rand((count, 2), generator=generator) * 3 + 2).exp()
    return InstanceData(
        bboxes=torch.cat([corners, corners + sides], dim=1),
        labels=torch.zeros(count, dtype=torch.long),
        **fields,
    )


def losses_and_gradients(head, outs, *args):
    outs = [[x.clone().requires_grad_() for x in maps] for maps in outs]
    torch.manual_seed(1)
    losses = head.loss_by_feat(*outs, *args)
    # RPNHead's are lists of a loss per level.
    losses = {
        name: sum(loss) if isinstance(loss, list) else loss
        for name, loss in losses.items()
    }
    sum(loss for name, loss in losses.items() if 'loss' in name).backward()
    return losses, [[x.grad for x in maps] for maps in outs]


def assert_same_losses(head, plain, *args, images=2):
    outs = predictions(head, images)
    losses, gradients = losses_and_gradients(head, outs, *args)
    expected = losses_and_gradients(plain, outs, *args)
    torch.testing.assert_close(losses, expected[0])
    torch.testing.assert_close(gradients, expected[1])
    assert all(torch.isfinite(loss) for loss in losses.values())
    return losses


HEADS = pytest.mark.parametrize('cls', [SparseRPNHead, KLRPNHead])
OBJECTS = {
    'none': [instances(0), instances(0)],
    'one': [instances(1), instances(0)],
    'some': [instances(5), instances(8, seed=1)],
    'crowd': [instances(500), instances(500, seed=1)],
}


@HEADS
@pytest.mark.parametrize('name', OBJECTS)
def test_same_losses_for_any_number_of_objects(cls, name, monkeypatch):
    head, plain = build_pair(cls)
    # It would be no comparison if this head took the other's path.
    monkeypatch.setattr(head, 'get_targets', None)
    assert_same_losses(head, plain, OBJECTS[name], metas())


@HEADS
@pytest.mark.parametrize('border', [-1, 0, 16])
def test_same_losses_for_images_of_unequal_size(cls, border, monkeypatch):
    head, plain = build_pair(cls, dict(allowed_border=border))
    monkeypatch.setattr(head, 'get_targets', None)
    shapes = (SHAPE, (96, 150))
    assert_same_losses(head, plain, OBJECTS['some'], metas(*shapes))


@HEADS
@pytest.mark.parametrize(
    'options',
    [
        dict(pos_weight=2.0),
        dict(assigner={**TRAIN_CFG.assigner, 'gt_max_assign_all': False}),
        dict(assigner={**TRAIN_CFG.assigner, 'neg_iou_thr': (0.1, 0.3)}),
        dict(sampler={**TRAIN_CFG.sampler, 'neg_pos_ub': 2}),
    ],
)
def test_same_losses_for_other_numbers(cls, options, monkeypatch):
    head, plain = build_pair(cls, options)
    monkeypatch.setattr(head, 'get_targets', None)
    if 'sampler' in options and cls is KLRPNHead:
        # A limit by their ratio makes both draw, and other anchors.
        losses, _ = losses_and_gradients(
            head, predictions(head), OBJECTS['some'], metas()
        )
        expected, _ = losses_and_gradients(
            plain, predictions(head), OBJECTS['some'], metas()
        )
        names = ['loss_rpn_pos', 'loss_rpn_mean', 'rpn_num_pos']
        for name in names:
            torch.testing.assert_close(losses[name], expected[name])
        return
    assert_same_losses(head, plain, OBJECTS['some'], metas())


@HEADS
@pytest.mark.parametrize(
    ('options', 'reason'),
    [
        (
            dict(assigner={**TRAIN_CFG.assigner, 'min_pos_iou': 0.0}),
            'assigner: its least threshold, 0.0, is below 0.1',
        ),
        (
            dict(assigner={**TRAIN_CFG.assigner, 'type': 'AnotherAssigner'}),
            'assigner: AnotherAssigner is not a MaxIoUAssigner',
        ),
        (
            dict(sampler=dict(type='PseudoSampler')),
            'PseudoSampler is not a RandomSampler',
        ),
        (
            dict(
                sampler={**TRAIN_CFG.sampler, 'type': 'IoUBalancedNegSampler'}
            ),
            'IoUBalancedNegSampler is not a RandomSampler',
        ),
    ],
)
def test_other_modules_take_mmdet_s_path(cls, options, reason, monkeypatch):
    head, plain = build_pair(cls, options)
    called = []
    dense = head.get_targets
    monkeypatch.setattr(
        head, 'get_targets', lambda *a, **k: called.append(1) or dense(*a, **k)
    )
    logged = []
    monkeypatch.setattr(
        sparse_sampling, 'print_log', lambda text, **_: logged.append(text)
    )
    args = (OBJECTS['some'], metas())
    assert_same_losses(head, plain, *args)
    assert_same_losses(head, plain, *args)
    assert called
    if cls is SparseRPNHead:  # the other's counterpart has a log of its own
        assert [reason in text for text in logged] == [True]


@HEADS
def test_same_losses_with_ignored_regions(cls):
    assigner = {**TRAIN_CFG.assigner, 'ignore_iof_thr': 0.5}
    head, plain = build_pair(cls, dict(assigner=assigner))
    region = InstanceData(bboxes=torch.tensor([[0.0, 0.0, 100.0, 100.0]]))
    args = (OBJECTS['some'], metas())
    with_region = assert_same_losses(head, plain, *args, [region, None])
    without = assert_same_losses(head, plain, *args, [region[:0], None])
    assert with_region != without


@HEADS
def test_same_losses_of_nothing_sampled(cls):
    assigner = {**TRAIN_CFG.assigner, 'ignore_iof_thr': 0.5}
    head, plain = build_pair(cls, dict(assigner=assigner))
    everywhere = InstanceData(bboxes=torch.tensor([[-500.0, -500, 900, 900]]))
    losses = assert_same_losses(
        head, plain, OBJECTS['some'], metas(), [everywhere] * 2
    )
    assert all(loss == 0 for loss in losses.values())


def test_same_losses_in_half_precision():
    head, plain = build_pair(SparseRPNHead)
    outs = [[x.bfloat16() for x in maps] for maps in predictions(head)]
    args = (OBJECTS['some'], metas())
    torch.testing.assert_close(
        losses_and_gradients(head, outs, *args),
        losses_and_gradients(plain, outs, *args),
        rtol=0.02,
        atol=1e-3,
    )


@HEADS
@pytest.mark.parametrize(
    'box',
    [
        [30.0, 30.0, 30.0, 60.0],
        [500.0, 500.0, 560.0, 560.0],
        [-99.0, -99.0, 20.0, 20.0],
    ],
)
def test_same_losses_for_objects_out_of_the_ordinary(cls, box):
    head, plain = build_pair(cls)
    objects = instances(2)
    objects.bboxes[0] = torch.tensor(box)
    assert_same_losses(head, plain, [objects], metas(SHAPE), images=1)


@HEADS
@pytest.mark.parametrize(
    'generator',
    [
        dict(strides=[(4, 8), (8, 8)], ratios=[1.0], scales=[4, 6, 8]),
        dict(
            strides=[8, 16], ratios=[0.5, 1, 2], scales=[4], center_offset=0.5
        ),
        dict(
            strides=[8, 16], ratios=[0.5, 1, 2], scales=[4], use_box_type=True
        ),
    ],
)
def test_same_losses_and_proposals_for_other_anchors(cls, generator):
    head, plain = build_pair(cls)
    for each in (head, plain):
        each.prior_generator = AnchorGenerator(**generator)
    outs = [
        [torch.randn((2, x.shape[1], *size)) for size in ((9, 7), (1, 1))]
        for x in (maps[0] for maps in predictions(head))
    ]
    args = (OBJECTS['some'], metas())
    torch.testing.assert_close(
        losses_and_gradients(head, outs, *args),
        losses_and_gradients(plain, outs, *args),
    )
    if cls is SparseRPNHead:
        assert_same_proposals(
            head.predict_by_feat(*outs, batch_img_metas=args[1]),
            plain.predict_by_feat(*outs, batch_img_metas=args[1]),
        )


def test_losses_of_decoded_boxes_and_of_a_softmax():
    for options in (
        dict(reg_decoded_bbox=True, loss_bbox=dict(type='GIoULoss')),
        dict(loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=False)),
    ):
        head, plain = build_pair(SparseRPNHead, **options)
        assert_same_losses(head, plain, OBJECTS['some'], metas())


def assert_same_proposals(actual, expected):
    for one, other in zip(actual, expected):
        assert set(one.keys()) == set(other.keys())
        for name, values in one.items():
            torch.testing.assert_close(values, other[name], msg=name)


PREDICTION = [
    dict(),
    dict(max_per_img=5),
    dict(max_per_img=100_000),
    dict(nms_pre=-1),
    dict(nms_pre=1_000_000, max_per_img=3),
    dict(min_bbox_size=40),
    dict(min_bbox_size=-1),
    dict(nms=dict(type='nms', iou_threshold=0.3)),
    dict(nms=dict(type='soft_nms', iou_threshold=0.5)),
    dict(nms=dict(type='nms', iou_threshold=0.7, max_num=7)),
    dict(nms=dict(type='nms', iou_threshold=0.7, class_agnostic=True)),
]


@pytest.mark.parametrize('options', PREDICTION)
@pytest.mark.parametrize('rescale', [False, True])
@pytest.mark.parametrize('use_sigmoid', [False, True])
def test_same_proposals_as_rpn_head(options, rescale, use_sigmoid):
    loss_cls = dict(type='CrossEntropyLoss', use_sigmoid=use_sigmoid)
    heads = [
        build_head(cls, test_cfg=options, loss_cls=loss_cls)
        for cls in (SparseRPNHead, RPNHead)
    ]
    outs = predictions(heads[0])
    shapes = metas(SHAPE, (96, 150))
    results = [
        head.predict_by_feat(*outs, batch_img_metas=shapes, rescale=rescale)
        for head in heads
    ]
    assert len(results[0][0]) > 0
    assert_same_proposals(*results)


def plain_kl_proposals(head, outs, img_meta, image, rescale):
    """Proposals of one image, every anchor's score and std computed."""
    levels = []
    sizes = [x.shape[-2:] for x in outs[0]]
    all_priors = head.prior_generator.grid_priors(sizes, device='cpu')
    for i, (logits, mean, priors) in enumerate(zip(*outs, all_priors)):
        logits = logits[image].permute(1, 2, 0).reshape(-1, head.num_stds)
        log_var = head.log_variances(logits)
        mean = mean[image].permute(1, 2, 0).reshape(-1, 4)
        scores = objectness(log_var, head.neg_std).mean(dim=1)
        top = scores.argsort(descending=True)
        if head.test_cfg.nms_pre > 0:
            top = top[: head.test_cfg.nms_pre]
        stds = decode_delta_xywh_stds(
            head.bbox_coder, priors, mean, (0.5 * log_var).exp()
        )
        if rescale:
            stds = stds / torch.tensor(img_meta['scale_factor']).repeat(2)
        boxes = head.bbox_coder.decode(priors, mean, img_meta['img_shape'])
        ids = torch.full_like(top, i)
        levels.append((boxes[top], stds[top], scores[top], ids))
    names = ('bboxes', 'bbox_stds', 'scores', 'level_ids')
    values = (torch.cat(parts) for parts in zip(*levels))
    results = InstanceData(**dict(zip(names, values)))
    return RPNHead._bbox_post_process(
        head, results, head.test_cfg, rescale, True, img_meta
    )


@pytest.mark.parametrize('options', PREDICTION)
@pytest.mark.parametrize('rescale', [False, True])
@pytest.mark.parametrize('num_stds', [1, 4])
def test_same_proposals_as_from_every_score(options, rescale, num_stds):
    head = build_head(
        KLRPNHead, test_cfg=options, num_stds=num_stds, std_scale=1.0
    )
    outs = predictions(head)
    shapes = metas(SHAPE, (96, 150))
    results = head.predict_by_feat(
        *outs, batch_img_metas=shapes, rescale=rescale
    )
    expected = [
        plain_kl_proposals(head, outs, meta, i, rescale)
        for i, meta in enumerate(shapes)
    ]
    assert len(results[0]) > 0
    assert_same_proposals(results, expected)


@HEADS
def test_no_proposal_of_any_kind_of_nms(cls):
    for kind in ('nms', 'soft_nms'):
        options = dict(nms=dict(type=kind, iou_threshold=0.5))
        head = build_head(cls, test_cfg=dict(min_bbox_size=9999, **options))
        for proposals in head.predict_by_feat(
            *predictions(head), batch_img_metas=metas()
        ):
            assert proposals.bboxes.shape == (0, 4)
            assert proposals.scores.shape == (0,)
            assert proposals.labels.shape == (0,)
            if cls is KLRPNHead:
                assert proposals.bbox_stds.shape == (0, 4)


@HEADS
def test_same_proposals_while_the_model_is_traced(cls):
    """As mmengine does to count operations; sizes are tensors then."""
    head = build_head(cls).eval()
    outs = predictions(head, images=1)
    shapes = metas(SHAPE)

    def boxes(*maps):
        levels = len(STRIDES)
        (proposals,) = head.predict_by_feat(
            list(maps[:levels]), list(maps[levels:]), batch_img_metas=shapes
        )
        return proposals.bboxes

    maps = (*outs[0], *outs[1])
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # the trace holds for one size
        traced = torch.jit.trace(boxes, maps, check_trace=False)
    assert len(boxes(*maps)) > 0
    assert torch.equal(traced(*maps), boxes(*maps))


@HEADS
def test_configs_are_left_as_they_were(cls):
    head = build_head(cls)
    before = copy.deepcopy(head.test_cfg)
    head.predict_by_feat(*predictions(head), batch_img_metas=metas())
    assert head.test_cfg == before


def costs(head, function, *args):
    """Waits for a GPU, and copies to it, of a call once tables are built."""
    device = FakeDevice()
    head, args = device.put(head), device.put(args)
    with device:
        function(head, *args)
        device.reset()
        function(head, *args)
    return sum(device.waits.values()), sum(device.uploads.values())


@HEADS
@pytest.mark.parametrize('shapes', [(SHAPE, SHAPE), (SHAPE, (96, 150))])
def test_waits_of_the_loss_grow_with_nothing(cls, shapes):
    found = set()
    for strides in (STRIDES, STRIDES[:2]):
        for images in (2, 6):
            head = build_head(cls, strides=strides)
            found.add(
                costs(
                    head,
                    losses_and_gradients,
                    predictions(head, images, strides=strides),
                    OBJECTS['some'] * (images // 2),
                    metas(*shapes * (images // 2)),
                )
            )
    ((waits, uploads),) = found
    padded = shapes[0] != shapes[1]
    assert waits == (5 if cls is KLRPNHead else 6) + padded
    # Means and stds of the coder, shapes, and samples.
    assert uploads == (2 if cls is KLRPNHead else 4) + padded


@HEADS
def test_waits_of_the_proposals_do_not_grow_with_levels(cls):
    found = set()
    for strides in (STRIDES, STRIDES[:2]):
        head = build_head(cls, strides=strides)
        outs = predictions(head, strides=strides)
        found.add(costs(head, propose, outs, metas()))
    ((waits, uploads),) = found
    assert waits == 2  # for the boxes that NMS keeps, of each image
    # The coder's means and stds, once more for the stds of boxes.
    assert uploads == (4 if cls is KLRPNHead else 2)


def test_waits_of_mmdet_s_head_do_grow():
    found = set()
    for strides in (STRIDES, STRIDES[:2]):
        head = build_head(RPNHead, strides=strides)
        outs = predictions(head, strides=strides)
        found.add(costs(head, propose, outs, metas()))
    assert len(found) == 2


def propose(head, outs, img_metas):
    return head.predict_by_feat(*outs, batch_img_metas=img_metas)


def test_quality_focal_loss_learns_the_iou_of_the_predicted_box():
    """Against the boxes themselves, decoded from their anchors."""
    loss_cls = dict(type='QualityFocalLoss', use_sigmoid=True, beta=0.0)
    head = build_head(SparseRPNHead, loss_cls=loss_cls)
    outs = [[0.3 * level for level in maps] for maps in predictions(head)]
    objects = [instances(6), instances(3, seed=1)]
    torch.manual_seed(1)
    losses = head.loss_by_feat(*outs, objects, metas())
    torch.manual_seed(1)
    grid, samples = head.sample_anchors(outs[0], objects, metas())
    logits, deltas = grid.gather(samples.images, samples.anchors, *outs)
    anchors = grid.boxes(samples.anchors)
    iou = torch.zeros(len(logits))
    for i, target in enumerate(samples.targets):
        box, wanted = (
            head.bbox_coder.decode(anchors[i : i + 1], x[None])
            for x in (deltas[i], target)
        )
        iou[i] = bbox_overlaps(box, wanted)
    assert iou.max() > 0.5
    wanted = torch.nn.functional.binary_cross_entropy_with_logits(
        logits[:, 0], iou, reduction='sum'
    )
    torch.testing.assert_close(
        losses['loss_rpn_cls'], wanted / samples.avg_factor
    )
