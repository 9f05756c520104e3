#!/usr/bin/env python
"""Take one image of full size through the paper's detectors, and weigh them.

For each config: a forward and backward pass and a step of its own optimizer,
on an image of noise with random weights, then a prediction. Parameters and
multiply-adds of each part are printed beside those that the architecture
implies; biases add nothing, as is customary.
"""

import argparse
import resource
import time
from collections import Counter
from typing import Dict, Tuple

import pandas as pd
import torch
from architectures import Part, faster_rcnn_vgg16, rfcn_resnet101
from mmdet.registry import MODELS
from mmdet.testing import demo_mm_inputs
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from torch import nn

import mmdet_klrpn  # noqa: F401

# Modules of our detectors, by the part of the architecture that they are.
PARTS = {
    'backbone': ('conv1_1-conv5_3', 'conv1-conv4'),
    'rpn_head': ('RPN', 'RPN'),
    'roi_head.bbox_head.classifier.0': ('fc6', ''),
    'roi_head.bbox_head.classifier.3': ('fc7', ''),
    'roi_head.bbox_head.fc_': ('predictors', ''),
    'roi_head.shared_head': ('', 'conv5'),
    'roi_head.bbox_head.rfcn_conv': ('', 'conv of 1024'),
    'roi_head.bbox_head.rfcn_cls': ('', 'score maps'),
    'roi_head.bbox_head.rfcn_reg': ('', 'box maps'),
}


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('configs', nargs='+')
    parser.add_argument(
        '--shape',
        type=int,
        nargs=2,
        default=(800, 1344),
        help='height and width of the image, multiples of 32',
    )
    args = parser.parse_args()
    for path in args.configs:
        config = Config.fromfile(path)
        init_default_scope(config.default_scope)
        torch.manual_seed(0)
        model = MODELS.build(config.model)
        data = demo_mm_inputs(1, (3, *args.shape), num_items=[2])
        data = model.data_preprocessor(data)
        print(f'\n{path}, {args.shape[0]} x {args.shape[1]} pixels')
        print(train_step(model, config, data))
        measured, rois = weigh(model, data)
        print(format_table(measured, implied(config, *args.shape, rois)))
        print(f'multiply-adds of a prediction, {rois} RoIs')


def train_step(model: nn.Module, config: Config, data: dict) -> str:
    """A step of the config's optimizer: losses, seconds and peak memory.

    Raises:
        FloatingPointError: If a parameter is no longer finite.
    """
    optimizer = build_optim_wrapper(model, config.optim_wrapper)
    started = time.time()
    model.train()
    loss, logged = model.parse_losses(model(**data, mode='loss'))
    optimizer.update_params(loss)
    seconds = time.time() - started
    for name, parameter in model.named_parameters():
        if not torch.isfinite(parameter).all():
            raise FloatingPointError(f'{name} is not finite after a step')
    losses = ', '.join(
        f'{key} {value:.3f}' for key, value in logged.items() if 'loss' in key
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return f'{losses}; {seconds:.0f} s, peak memory {peak:.1f} GiB'


@torch.no_grad()
def weigh(model: nn.Module, data: dict) -> Tuple[Dict[str, Part], int]:
    """Parameters and multiply-adds of a prediction by part, and its RoIs."""
    is_rfcn = hasattr(model.roi_head, 'score_maps')

    def part_of(name: str) -> str:
        (key,) = (prefix for prefix in PARTS if name.startswith(prefix))
        return PARTS[key][is_rfcn]

    parameters: Counter = Counter()
    for name, parameter in model.named_parameters():
        parameters[part_of(name)] += parameter.numel()
    macs: Counter = Counter()
    rois = []
    for name, module in model.named_modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):

            def count(module, inputs, out, part=part_of(name)):
                macs[part] += out.numel() * module.weight[0].numel()

            module.register_forward_hook(count)
    model.roi_head.bbox_head.register_forward_hook(
        lambda module, inputs, out: rois.append(len(out[0]))
    )
    model.eval()
    model(**data, mode='predict')
    return {part: (n, macs[part]) for part, n in parameters.items()}, rois[0]


def implied(
    config: Config, height: int, width: int, rois: int
) -> Dict[str, Part]:
    """What the architecture of a config implies."""
    head = config.model.rpn_head
    generator = head.anchor_generator
    anchors = len(generator.scales) * len(generator.ratios)
    stds = head.get('num_stds', 1) if head.type == 'KLRPNHead' else 0
    classes = config.model.roi_head.bbox_head.num_classes
    if config.model.roi_head.type == 'RFCNRoIHead':
        return rfcn_resnet101(height, width, classes, anchors, stds)
    return faster_rcnn_vgg16(height, width, classes, anchors, stds, rois)


def format_table(measured: Dict[str, Part], expected: Dict[str, Part]) -> str:
    """A Markdown table of both, with sums; a difference is pointed out."""
    measured, expected = (
        dict(side, sum=tuple(map(sum, zip(*side.values()))))
        for side in (measured, expected)
    )
    rows = []
    for part, implied in expected.items():
        pairs = list(zip(measured[part], implied))
        cells = [f'{count:,}' for count in pairs[0]]
        cells += [f'{macs / 1e9:.2f}' for macs in pairs[1]]
        same = measured[part] == implied
        rows.append((part, *cells, '' if same else 'DIFFERENT'))
    columns = ('part', 'parameters', 'implied', 'G multiply-adds', 'implied')
    table = pd.DataFrame(rows, columns=[*columns, ''])
    return table.to_markdown(index=False, disable_numparse=True)


if __name__ == '__main__':
    main()
