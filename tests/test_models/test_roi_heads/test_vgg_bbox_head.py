"""fc6 and fc7 against torchvision's classifier."""

import io
import logging

import pytest
import torch
from conftest import ROOT
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.logging import MMLogger
from torch import nn
from torchvision.models import vgg16

from mmdet_klrpn.models import VGGBBoxHead


def torchvision_classifier(width=8):
    """The classifier of torchvision's VGG-16, made small."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(2 * 7 * 7, width),
        nn.ReLU(True),
        nn.Dropout(),
        nn.Linear(width, width),
        nn.ReLU(True),
        nn.Dropout(),
        nn.Linear(width, 1000),
    )


@pytest.fixture
def head_and_classifier(tmp_path):
    """A head that was initialised by the file of a classifier."""
    classifier = torchvision_classifier()
    state = {f'classifier.{k}': v for k, v in classifier.state_dict().items()}
    state['features.0.weight'] = torch.zeros(64, 3, 3, 3)
    torch.save(state, tmp_path / 'vgg.pth')
    head = VGGBBoxHead(
        in_channels=2,
        fc_out_channels=8,
        num_classes=3,
        init_cfg=dict(
            type='Pretrained',
            checkpoint=str(tmp_path / 'vgg.pth'),
            prefix='classifier',
        ),
    )
    text = io.StringIO()
    handler = logging.StreamHandler(text)
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    try:
        head.init_weights()
    finally:
        logger.removeHandler(handler)
    return head, classifier, text.getvalue()


def test_features_are_those_of_the_classifier(head_and_classifier):
    head, classifier, log = head_and_classifier
    x = torch.randn(5, 2, 7, 7)
    head.eval()
    classifier.eval()
    fc7 = classifier[:-1](x.flatten(1))
    cls_score, bbox_pred = head(x)
    torch.testing.assert_close(cls_score, head.fc_cls(fc7))
    torch.testing.assert_close(bbox_pred, head.fc_reg(fc7))
    assert cls_score.shape == (5, 4)
    assert bbox_pred.shape == (5, 12)
    # The thousand classes have no place here, and are named.
    assert 'unexpected key in source state_dict: 6.weight, 6.bias' in log
    assert 'missing keys' not in log


def test_predictors_start_as_in_faster_rcnn(head_and_classifier):
    head, _, _ = head_and_classifier
    assert 0.005 < head.fc_cls.weight.std() < 0.02
    assert 0.0005 < head.fc_reg.weight.std() < 0.002
    assert head.fc_cls.bias.abs().max() == 0


def test_units_are_dropped_in_training_alone(head_and_classifier):
    head, _, _ = head_and_classifier
    x = torch.randn(2, 2, 7, 7)
    head.train()
    assert not torch.equal(head(x)[0], head(x)[0])
    head.eval()
    assert torch.equal(head(x)[0], head(x)[0])


def test_no_region():
    head = VGGBBoxHead(in_channels=2, fc_out_channels=8, num_classes=3)
    cls_score, bbox_pred = head(torch.zeros(0, 2, 7, 7))
    assert cls_score.shape == (0, 4)
    assert bbox_pred.shape == (0, 12)


@pytest.mark.slow
def test_one_file_initialises_the_whole_detector(tmp_path):
    """Convolutions, fc6 and fc7 of the COCO config, at full size."""
    torch.manual_seed(0)
    source = vgg16(weights=None).state_dict()
    torch.save(source, tmp_path / 'vgg16.pth')
    config = Config.fromfile(
        ROOT / 'configs/faster_rcnn/faster-rcnn_vgg16_1x_coco.py'
    )
    for part in (config.model.backbone, config.model.roi_head.bbox_head):
        assert part.init_cfg.checkpoint == 'torchvision://vgg16'
        part.init_cfg.checkpoint = str(tmp_path / 'vgg16.pth')
    model = MODELS.build(config.model)
    model.init_weights()

    loaded = {
        **model.backbone.state_dict(),
        **{
            name: value
            for name, value in model.roi_head.bbox_head.state_dict().items()
            if name.startswith('classifier.')
        },
    }
    left_out = {'classifier.6.weight', 'classifier.6.bias'}
    assert set(source) - set(loaded) == left_out
    for name, value in loaded.items():
        assert torch.equal(value, source[name]), name
