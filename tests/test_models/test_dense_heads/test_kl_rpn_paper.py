"""A toy trained as the configs named kl-rpn-paper say."""

import pytest
import torch
from conftest import ROOT
from mmdet.registry import MODELS
from mmengine.config import Config, ConfigDict
from mmengine.optim import build_optim_wrapper
from mmengine.structures import InstanceData
from torch import nn

import mmdet_klrpn  # noqa: F401

SIDE, STRIDE, WIDTH, BATCH, STEPS = 64, 8, 32, 4, 150
META = dict(
    img_shape=(SIDE, SIDE), pad_shape=(SIDE, SIDE), scale_factor=(1.0, 1.0)
)


class Toy(nn.Module):
    """Four convolutions, then the head of a config on their one map."""

    def __init__(self, model):
        super().__init__()
        layers = []
        for channels, stride in ((3, 2), (WIDTH, 2), (WIDTH, 2), (WIDTH, 1)):
            conv = nn.Conv2d(channels, WIDTH, 3, stride, padding=1)
            layers += [conv, nn.BatchNorm2d(WIDTH), nn.ReLU()]
        self.body = nn.Sequential(*layers)
        head = ConfigDict(
            model.rpn_head,
            in_channels=WIDTH,
            feat_channels=WIDTH,
            train_cfg=model.train_cfg.rpn,
            test_cfg=model.test_cfg.rpn,
            anchor_generator=dict(
                type='AnchorGenerator',
                scales=[3],
                ratios=[1.0],
                strides=[STRIDE],
            ),
            _scope_='mmdet',
        )
        self.head = MODELS.build(head)
        self.head.init_weights()

    def losses(self, images, objects):
        outs = self.head([self.body(images)])
        return self.head.loss_by_feat(*outs, objects, [META] * len(images))


def batch():
    """Bright rectangles of 16 to 32 pixels in noise."""
    images = 0.3 * torch.randn(BATCH, 3, SIDE, SIDE)
    objects = []
    for image in images:
        w, h = torch.randint(16, 33, (2,)).tolist()
        x, y = (int(torch.randint(0, SIDE - side, ())) for side in (w, h))
        image[:, y : y + h, x : x + w] += 2
        boxes = torch.tensor([[x, y, x + w, y + h]], dtype=torch.float32)
        objects.append(
            InstanceData(bboxes=boxes, labels=torch.zeros(1).long())
        )
    return images, objects


def train(config, optim_wrapper):
    """The loss and the mean std of positives, of each step."""
    torch.manual_seed(0)
    toy = Toy(config.model).train()
    optim_wrapper = build_optim_wrapper(toy, optim_wrapper)
    losses, stds = [], []
    for _ in range(STEPS):
        values = toy.losses(*batch())
        loss = values['loss_rpn_pos'] + values['loss_rpn_neg']
        optim_wrapper.update_params(loss)
        losses.append(loss.item())
        stds.append(values['rpn_pos_std'].item())
    return torch.tensor(losses), torch.tensor(stds)


@pytest.mark.parametrize('name', ['rpn', 'faster-rcnn'])
def test_both_configs_clip_alike(name):
    path = f'configs/kl_rpn/{name}_r50_fpn_kl-rpn-paper_1x_coco.py'
    optim_wrapper = Config.fromfile(ROOT / path).optim_wrapper
    assert optim_wrapper.clip_grad == dict(max_norm=1)
    assert optim_wrapper.optimizer.type == 'SGD'
    assert optim_wrapper.optimizer.lr == 0.02


def test_a_toy_learns_with_their_clip_alone():
    path = ROOT / 'configs/kl_rpn/rpn_r50_fpn_kl-rpn-paper_1x_coco.py'
    config = Config.fromfile(path)
    clipped, clipped_stds = train(config, config.optim_wrapper)
    plain = {k: v for k, v in config.optim_wrapper.items() if k != 'clip_grad'}
    unclipped, unclipped_stds = train(config, ConfigDict(plain))
    neg_std = config.model.rpn_head.neg_std
    # Once the positives have begun to be told from the negatives.
    for stds in (clipped_stds, unclipped_stds):
        assert (stds < neg_std / 3).any()
    begin = int((clipped_stds < neg_std / 3).nonzero()[0])
    assert begin < STEPS - 60
    assert clipped.isfinite().all()
    assert clipped_stds[begin:].max() < neg_std / 2
    assert clipped_stds[-30:].mean() < neg_std / 10
    assert clipped[-30:].mean() < 0 < clipped[0]
    assert unclipped.isfinite().all()  # so that nothing would stop it
    assert unclipped_stds[begin:].max() > 0.8 * neg_std
    assert clipped[-30:].mean() < unclipped[-30:].mean()
