#!/usr/bin/env python
"""Cost of the RoI part: R-FCN's against Faster R-CNN's on the same ResNet-101.

Both RoI heads read the same conv4 features of one image of 800 x 1344 pixels
and the same RoIs. R-FCN runs conv5 and its maps once over the image and pools;
Faster R-CNN (mmdet's C4 detector, with 101 layers) runs conv5 on each RoI.
The runs alternate, so that a drift of the machine's speed meets both; the
ratio of each pair is what to read.
"""

import argparse
from functools import partial
from typing import Dict, Tuple

import instruments
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import Tensor, nn

import mmdet_klrpn  # noqa: F401

RFCN = 'configs/rfcn/rfcn_r101-caffe_1x_coco.py'
HEIGHT, WIDTH, STRIDE, CHANNELS = 800, 1344, 16, 1024


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--rois', type=int, nargs='+', default=(300, 1000))
    parser.add_argument('--repeats', type=int, default=3)
    parser.add_argument('--device', default='cpu')
    args = parser.parse_args()
    print(instruments.environment(args.device), '\n')
    heads = {
        name: head.to(args.device).eval() for name, head in build().items()
    }
    rows = []
    for count in args.rois:
        x, rois = inputs(count, args.device)
        functions = {
            'Faster R-CNN': partial(
                heads['Faster R-CNN']._bbox_forward, (x,), rois
            ),
            'R-FCN': partial(rfcn, heads['R-FCN'], x, rois),
            'of which its maps': partial(heads['R-FCN'].score_maps, (x,)),
        }
        with torch.no_grad():
            turns = instruments.take_turns(
                functions, args.repeats, args.device
            )
        rows.append([str(count), *instruments.compare(turns, 'Faster R-CNN')])
    title = 'RoI part of one image of 800x1344, ms.'
    print(instruments.render(title, ['RoIs', *functions], rows))


def build() -> Dict[str, nn.Module]:
    """Both RoI heads, with random weights."""
    config = Config.fromfile(RFCN)
    init_default_scope(config.default_scope)
    base = 'mmdet::_base_/models/faster-rcnn_r50-caffe-c4.py'
    c4 = Config.fromstring(
        f"_base_ = '{base}'\n"
        'model = dict(roi_head=dict(shared_head=dict(depth=101)))',
        '.py',
    )
    configs = {'R-FCN': config, 'Faster R-CNN': c4}
    torch.manual_seed(0)
    return {
        name: MODELS.build(config.model.roi_head)
        for name, config in configs.items()
    }


def inputs(count: int, device: str) -> Tuple[Tensor, Tensor]:
    """Features of one image and RoIs anywhere in it."""
    torch.manual_seed(0)
    x = torch.randn(1, CHANNELS, HEIGHT // STRIDE, WIDTH // STRIDE)
    size = torch.tensor([WIDTH, HEIGHT])
    corners = (torch.rand(count, 2, 2) * size).sort(dim=1).values
    rois = torch.cat([torch.zeros(count, 1), corners.flatten(1)], dim=1)
    return x.to(device), rois.to(device)


def rfcn(head: nn.Module, x: Tensor, rois: Tensor) -> None:
    """The whole RoI part of R-FCN."""
    head._bbox_forward(head.score_maps((x,)), rois)


if __name__ == '__main__':
    main()
