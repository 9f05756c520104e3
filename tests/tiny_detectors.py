"""Whole detectors, small enough to run in a blink, and batches for them."""

import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData

import mmdet_klrpn  # noqa: F401, registers the heads

SHAPE = (96, 128)
_PS_ROI_POOL = dict(type='PSRoIPool', output_size=3)
RPN_HEADS = {
    'RPNHead': dict(type='mmdet.RPNHead'),
    'SparseRPNHead': dict(type='SparseRPNHead'),
    'KLRPNHead': dict(type='KLRPNHead'),
    'four stds': dict(type='KLRPNHead', num_stds=4),
    'one loss': dict(type='KLRPNHead', loss_mean=None, pos_std=0.0),
    'reverse': dict(type='KLRPNHead', neg_divergence='reverse'),
    'no best anchors': dict(type='KLRPNHead', pos_topk=0),
}
ROI_HEADS = {
    'StandardRoIHead': dict(type='mmdet.StandardRoIHead'),
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
}


def tiny_detector(
    rpn_head='KLRPNHead', roi_head='ObjectnessRoIHead', **train_cfg
):
    """Build a detector of two classes.

    Args:
        rpn_head (str): One of ``RPN_HEADS``.
        roi_head (str): One of ``ROI_HEADS``. R-FCN's read a single level.
        **train_cfg: What to replace in that of the RPN head.
    """
    rpn_head, roi_head = dict(RPN_HEADS[rpn_head]), dict(ROI_HEADS[roi_head])
    is_rfcn = roi_head['type'] == 'RFCNRoIHead'
    strides = [16] if is_rfcn else [4, 8, 16, 32]
    torch.manual_seed(0)
    return MODELS.build(
        ConfigDict(
            type='mmdet.FasterRCNN',
            data_preprocessor=dict(
                type='mmdet.DetDataPreprocessor',
                mean=[120.0] * 3,
                std=[60.0] * 3,
                pad_size_divisor=32,
            ),
            backbone=dict(
                type='mmdet.ResNet',
                depth=18,
                base_channels=8,
                out_indices=(2,) if is_rfcn else (0, 1, 2, 3),
            ),
            neck=None
            if is_rfcn
            else dict(
                type='mmdet.FPN',
                in_channels=[8, 16, 32, 64],
                out_channels=32,
                num_outs=4,
            ),
            rpn_head=dict(
                in_channels=32,
                feat_channels=8,
                anchor_generator=dict(
                    type='AnchorGenerator',
                    scales=[2 if is_rfcn else 4],
                    ratios=[0.5, 1.0, 2.0],
                    strides=strides,
                ),
                **rpn_head,
            ),
            roi_head=_roi_head(is_rfcn, strides, **roi_head),
            train_cfg={
                **_TRAIN_CFG,
                'rpn': {**_TRAIN_CFG['rpn'], **train_cfg},
            },
            test_cfg=_TEST_CFG,
        )
    )


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


def _roi_head(is_rfcn, strides, roi_layer=_PS_ROI_POOL, **roi_head):
    if is_rfcn:
        return dict(
            bbox_roi_extractor=dict(
                type='PSRoIExtractor',
                roi_layer=roi_layer,
                featmap_stride=16,
            ),
            bbox_head=dict(
                type='RFCNBBoxHead',
                in_channels=32,
                conv_out_channels=16,
                roi_feat_size=3,
                num_classes=2,
            ),
            **roi_head,
        )
    return dict(
        bbox_roi_extractor=dict(
            type='mmdet.SingleRoIExtractor',
            roi_layer=dict(type='RoIAlign', output_size=3),
            out_channels=32,
            featmap_strides=strides,
        ),
        bbox_head=dict(
            type='mmdet.Shared2FCBBoxHead',
            in_channels=32,
            fc_out_channels=16,
            roi_feat_size=3,
            num_classes=2,
        ),
        **roi_head,
    )


_NMS = dict(type='nms', iou_threshold=0.7)
_TRAIN_CFG = dict(
    rpn=dict(
        assigner=dict(
            type='MaxIoUAssigner',
            pos_iou_thr=0.7,
            neg_iou_thr=0.3,
            min_pos_iou=0.3,
            ignore_iof_thr=-1,
        ),
        sampler=dict(
            type='RandomSampler',
            num=64,
            pos_fraction=0.5,
            neg_pos_ub=-1,
            add_gt_as_proposals=False,
        ),
        allowed_border=-1,
        pos_weight=-1,
    ),
    rpn_proposal=dict(nms_pre=200, max_per_img=100, nms=_NMS, min_bbox_size=0),
    rcnn=dict(
        assigner=dict(
            type='MaxIoUAssigner',
            pos_iou_thr=0.5,
            neg_iou_thr=0.5,
            min_pos_iou=0.5,
            match_low_quality=False,
        ),
        sampler=dict(type='RandomSampler', num=32, pos_fraction=0.25),
        pos_weight=-1,
    ),
)
_TEST_CFG = dict(
    rpn=dict(nms_pre=100, max_per_img=50, nms=_NMS, min_bbox_size=0),
    rcnn=dict(
        score_thr=0.0,
        nms=dict(type='nms', iou_threshold=0.5),
        max_per_img=20,
    ),
)
