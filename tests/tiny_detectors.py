"""Whole detectors, small enough to run in a blink, and batches for them."""

import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.structures import InstanceData

from mmdet_klrpn.utils.conversion import mmdet_configs

SHAPE = (96, 128)
_FASTER_RCNN = mmdet_configs() / '_base_/models/faster-rcnn_r50_fpn.py'
RPN_HEADS = {
    'RPNHead': dict(type='RPNHead'),
    'SparseRPNHead': dict(type='SparseRPNHead'),
    'KLRPNHead': dict(type='KLRPNHead'),
    'four stds': dict(type='KLRPNHead', num_stds=4),
    'one loss': dict(type='KLRPNHead', loss_mean=None, pos_std=0.0),
    'reverse': dict(type='KLRPNHead', neg_divergence='reverse'),
    'no best anchors': dict(type='KLRPNHead', pos_topk=0),
    'second look': dict(type='KLRPNHead', second_look=dict(num=50)),
    "RPN's second look": dict(type='SparseRPNHead', second_look={}),
}
ROI_HEADS = {
    'StandardRoIHead': dict(type='StandardRoIHead'),
    'ObjectnessRoIHead': dict(type='ObjectnessRoIHead'),
    'prior': dict(type='ObjectnessRoIHead', objectness_prior=True),
    'RFCNRoIHead': dict(type='RFCNRoIHead'),
    'PSRoIAlign': dict(
        type='RFCNRoIHead',
        roi_layer=dict(type='PSRoIAlign', output_size=3, sampling_ratio=2),
    ),
    'RFCNRoIHead with both': dict(
        type='RFCNRoIHead', objectness_power=1.0, objectness_prior=True
    ),
    'stds': dict(type='StandardRoIHead', bbox_head=dict(type='KLBBoxHead')),
    'one std for all classes': dict(
        type='StandardRoIHead',
        bbox_head=dict(
            type='KLVGGBBoxHead', reg_class_agnostic=True, num_stds=1
        ),
    ),
    "R-FCN's stds": dict(
        type='RFCNRoIHead', bbox_head=dict(type='KLRFCNBBoxHead')
    ),
}


def faster_rcnn(part, changes):
    """Part of mmdet's config of a Faster R-CNN, with changes by its keys."""
    config = Config.fromfile(_FASTER_RCNN)
    for name in part.split('.'):
        config = Config(config[name].to_dict())
    config.merge_from_dict(changes)
    return config._cfg_dict


def rfcn_roi_head(
    channels, roi_layer=dict(type='PSRoIPool', output_size=3), **roi_head
):
    """Config of an R-FCN's second stage of two classes and 3 x 3 bins."""
    return dict(
        bbox_roi_extractor=dict(
            type='PSRoIExtractor',
            roi_layer=roi_layer,
            featmap_stride=16,
        ),
        bbox_head=dict(
            type='RFCNBBoxHead',
            in_channels=channels,
            conv_out_channels=16,
            roi_feat_size=3,
            num_classes=2,
        ),
        **roi_head,
    )


def tiny_detector(
    rpn_head='KLRPNHead',
    roi_head='ObjectnessRoIHead',
    **train_cfg,
):
    """Build a detector of two classes.

    Args:
        rpn_head (str): One of ``RPN_HEADS``.
        roi_head (str): One of ``ROI_HEADS``. R-FCN's read a single level.
        **train_cfg: What to replace in that of the RPN head.
    """
    changes = dict(ROI_HEADS[roi_head])
    box_head = changes.pop('bbox_head', {})
    is_rfcn = changes['type'] == 'RFCNRoIHead'
    strides = [16] if is_rfcn else [4, 8, 16, 32]
    extractor, bbox_head = 'roi_head.bbox_roi_extractor', 'roi_head.bbox_head'
    model = faster_rcnn(
        'model',
        {
            'data_preprocessor.mean': [120.0] * 3,
            'data_preprocessor.std': [60.0] * 3,
            'backbone.depth': 18,
            'backbone.base_channels': 8,
            'backbone.frozen_stages': -1,
            'backbone.init_cfg': None,
            'neck.in_channels': [8, 16, 32, 64],
            'neck.out_channels': 32,
            'neck.num_outs': 4,
            'rpn_head.in_channels': 32,
            'rpn_head.feat_channels': 8,
            'rpn_head.anchor_generator.scales': [2 if is_rfcn else 4],
            'rpn_head.anchor_generator.strides': strides,
            f'{extractor}.roi_layer.output_size': 3,
            f'{extractor}.out_channels': 32,
            f'{bbox_head}.in_channels': 32,
            f'{bbox_head}.fc_out_channels': 16,
            f'{bbox_head}.roi_feat_size': 3,
            f'{bbox_head}.num_classes': 2,
            'train_cfg.rpn.sampler.num': 64,
            'train_cfg.rpn_proposal.nms_pre': 200,
            'train_cfg.rpn_proposal.max_per_img': 100,
            'train_cfg.rcnn.sampler.num': 32,
            'test_cfg.rpn.nms_pre': 100,
            'test_cfg.rpn.max_per_img': 50,
            'test_cfg.rcnn.score_thr': 0.0,
            'test_cfg.rcnn.max_per_img': 20,
        },
    )
    model.rpn_head.update(RPN_HEADS[rpn_head])
    if is_rfcn:
        model.neck = None
        model.backbone.out_indices = (2,)
        model.roi_head = rfcn_roi_head(32, **changes)
    else:
        model.roi_head.update(changes)
    model.roi_head.bbox_head.update(box_head)
    model.train_cfg.rpn.update(train_cfg)
    torch.manual_seed(0)
    return MODELS.build(dict(model, _scope_='mmdet'))


def batch(images=2):
    """Images as they are loaded, objects in them, the last without any."""
    generator = torch.Generator().manual_seed(0)
    inputs, samples = [], []
    for i in range(images):
        image = torch.randint(0, 256, (3, *SHAPE), generator=generator)
        inputs.append(image.to(torch.uint8))
        count = 0 if i == images - 1 else 3
        corners = torch.rand((count, 2), generator=generator) * 60
        sides = 12 + torch.rand((count, 2), generator=generator) * 24
        sample = DetDataSample(
            metainfo=dict(
                img_shape=SHAPE, ori_shape=SHAPE, scale_factor=(1.0, 1.0)
            )
        )
        sample.gt_instances = InstanceData(
            bboxes=torch.cat([corners, corners + sides], dim=1),
            labels=torch.arange(count) % 2,
        )
        sample.ignored_instances = InstanceData(
            bboxes=torch.zeros((0, 4)), labels=torch.zeros(0)
        )
        samples.append(sample)
    return dict(inputs=inputs, data_samples=samples)


def train(model, data):
    """Losses of a batch; parameters get their gradients."""
    model.train()
    torch.manual_seed(0)
    data = model.data_preprocessor(data, training=True)
    losses = model(**data, mode='loss')
    model.parse_losses(losses)[0].backward()
    return losses


@torch.no_grad()
def predict(model, data):
    """Proposals and detections of each image."""
    model.eval()
    data = model.data_preprocessor(data)
    features = model.extract_feat(data['inputs'])
    proposals = model.rpn_head.predict(features, data['data_samples'])
    return proposals, model.roi_head.predict(
        features, proposals, data['data_samples']
    )
