"""Descriptions are of the parts that train, not of what a config spells."""

import copy

import pytest
from mmengine.config import Config
from tiny_detectors import tiny_detector

from mmdet_klrpn.apis import load_detector
from mmdet_klrpn.benchmark.built import describe
from mmdet_klrpn.utils.conversion import resolve_config

TOP_9 = dict(
    assigner=dict(
        type='TopKMaxIoUAssigner',
        topk=9,
        pos_iou_thr=0.7,
        neg_iou_thr=0.3,
        min_pos_iou=0.3,
        ignore_iof_thr=-1,
    )
)


def differing(first, second):
    """Row and both texts where two descriptions differ, '' where one ends."""
    rows = {**first, **second}
    rows = [(row, first.get(row, ''), second.get(row, '')) for row in rows]
    return [row for row in rows if row[1] != row[2]]


def describe_config(name, **options):
    config = Config.fromfile(resolve_config(name))
    config.merge_from_dict(options)
    return describe(load_detector(copy.deepcopy(config), None))


def test_kl_rpn_is_what_it_trains():
    rpn, kl_rpn, top_9, letter = (
        describe(tiny_detector(*args, **kwargs))
        for args, kwargs in [
            (['RPNHead'], {}),
            (['KLRPNHead'], {}),
            (['SparseRPNHead'], TOP_9),
            (['one loss'], {}),
        ]
    )
    thresholds = 'pos_iou_thr 0.7, neg_iou_thr 0.3, min_pos_iou 0.3'
    best = 'topk 9, topk_min_iou 0.1'
    assert {row: texts for row, *texts in differing(rpn, kl_rpn)} == {
        'rpn_head': [
            'RPNHead: num_classes 1, feat_channels 8, num_convs 1',
            'KLRPNHead: num_classes 1, feat_channels 8, num_convs 1, '
            'num_stds 1, pos_std 0.2, neg_std 1, min_std 0.03, '
            'std_scale 0.35',
        ],
        'rpn_head.loss_cls': [
            'CrossEntropyLoss: use_sigmoid True, loss_weight 1',
            'KLDivLoss: loss_weight 1',
        ],
        'rpn_head.loss_bbox': [
            'L1Loss: loss_weight 1',
            'SmoothL1Loss: beta 0.111, loss_weight 10',
        ],
        'rpn_head.assigner': [
            f'MaxIoUAssigner: {thresholds}',
            f'TopKMaxIoUAssigner: {thresholds}, {best}',
        ],
    }
    rows = [row for row, *_ in differing(top_9, kl_rpn)]
    assert rows == ['rpn_head', 'rpn_head.loss_cls', 'rpn_head.loss_bbox']
    assert letter['rpn_head.loss_bbox'] == 'KLDivLoss: loss_weight 1'
    assert differing(rpn, rpn) == []


def test_convolutions_proposals_and_parameters():
    model = tiny_detector('four stds')
    rows = describe(model)
    assert rows['rpn_head convolutions'] == (
        'rpn_conv 3x3, 32 to 8; rpn_cls 1x1, 8 to 12; rpn_reg 1x1, 8 to 12'
    )
    nms = 'nms type nms, iou_threshold 0.7, min_bbox_size 0'
    assert rows['rpn_head.test_cfg'] == f'nms_pre 100, max_per_img 50, {nms}'
    proposals = f'nms_pre 200, max_per_img 100, {nms}'
    assert rows['train_cfg.rpn_proposal'] == proposals
    assert rows['rpn_head.train_cfg'] == 'allowed_border -1, pos_weight -1'
    coder = 'DeltaXYWHBBoxCoder: target_stds [1, 1, 1, 1], ctr_clamp 32'
    assert rows['rpn_head.bbox_coder'] == coder
    assert 'strides [4, 8, 16, 32]' in rows['rpn_head.prior_generator']
    assert 'ratios [0.5, 1, 2], scales [4]' in rows['rpn_head.prior_generator']
    assert rows['backbone'].startswith('ResNet: depth 18')
    assert rows['neck'].startswith('FPN: out_channels 32')
    millions = sum(p.numel() for p in model.parameters()) / 1e6
    assert rows['parameters'].startswith(f'all {millions:.2f} M, backbone')
    # What is the same of all four levels is told once.
    layers = 'roi_head.bbox_roi_extractor.roi_layers'
    assert rows[layers] == 'RoIAlign: output_size 3, sampling_ratio 0'


@pytest.mark.parametrize(
    ('roi_head', 'second_stage', 'others'),
    [
        ('StandardRoIHead', 'StandardRoIHead', {}),
        ('ObjectnessRoIHead', 'ObjectnessRoIHead: objectness_power 1', {}),
        (
            'prior',
            'ObjectnessRoIHead: objectness_power 1',
            {'objectness_prior': 'ObjectnessPrior'},
        ),
        (
            'RFCNRoIHead',
            'RFCNRoIHead: objectness_power 0',
            {'bbox_roi_extractor.roi_layers': 'PSRoIPool: output_size 3'},
        ),
    ],
)
def test_second_stages(roi_head, second_stage, others):
    rows = describe(tiny_detector('RPNHead', roi_head))
    assert rows['roi_head'] == second_stage
    for row, text in others.items():
        assert rows[f'roi_head.{row}'] == text
    assert ('roi_head.objectness_prior' in rows) == (roi_head == 'prior')
    assert 'num 32' in rows['roi_head.bbox_sampler']


def test_heads_of_mmdet_and_many_stages():
    guided = describe_config('ga-faster-rcnn_r50_fpn_1x_coco.py')
    assert guided['rpn_head'].startswith('GARPNHead')
    assert guided['rpn_head.loss_shape'].startswith('BoundedIoULoss: beta 0.2')
    assert guided['rpn_head.ga_assigner'].startswith('ApproxMaxIoUAssigner')
    assert (
        'scales [8, 10.1, 12.7]' in guided['rpn_head.approx_anchor_generator']
    )

    name = 'cascade-rpn_faster-rcnn_r50-caffe_fpn_1x_coco.py'
    stages = describe_config(name)
    assert stages['rpn_head'].startswith('CascadeRPNHead')
    # The first stage has no classifier, though it builds a loss for one.
    assert 'rpn_head.stages.0.loss_cls' not in stages
    assert 'loss_weight 0.7' in stages['rpn_head.stages.1.loss_cls']
    assert stages['rpn_head.stages.0.assigner'].startswith('RegionAssigner')
    assert 'stages.1.rpn_cls 1x1' in stages['rpn_head convolutions']

    name = 'cascade-mask-rcnn_r50_fpn_1x_coco.py'
    rows = describe_config(name)
    stds = '0.05, 0.05, 0.1, 0.1'
    assert stds in rows['roi_head.bbox_head.1.bbox_coder']
    assert 'pos_iou_thr 0.7' in rows['roi_head.bbox_assigner.2']
    assert rows['roi_head.mask_head'].startswith('FCNMaskHead')
    assert 'use_mask True' in rows['roi_head.mask_head.loss_mask']

    rows = describe_config('rpn_r50_fpn_kl-rpn_1x_coco.py')
    assert 'roi_head' not in rows
    assert rows['rpn_head.loss_cls'] == 'KLDivLoss: loss_weight 1'
    with pytest.raises(ValueError, match='proposes no regions'):
        describe_config('retinanet_r50_fpn_1x_coco.py')
