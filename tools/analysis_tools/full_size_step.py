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
from typing import Dict, Tuple

import torch
from architectures import Part, faster_rcnn_vgg16, rfcn_resnet101
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from torch import Tensor, nn

import mmdet_klrpn  # noqa: F401

# Modules of our detectors, by the part of the architecture that they are.
FASTER_RCNN = {
    'backbone': 'conv1_1-conv5_3',
    'rpn_head': 'RPN',
    'roi_head.bbox_head.classifier.0': 'fc6',
    'roi_head.bbox_head.classifier.3': 'fc7',
    'roi_head.bbox_head.fc_': 'predictors',
}
RFCN = {
    'backbone': 'conv1-conv4',
    'rpn_head': 'RPN',
    'roi_head.shared_head': 'conv5',
    'roi_head.bbox_head.rfcn_conv': 'conv of 1024',
    'roi_head.bbox_head.rfcn_cls': 'score maps',
    'roi_head.bbox_head.rfcn_reg': 'box maps',
}
Data = Tuple[Tensor, list]


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
        data = image(*args.shape)
        print(f'\n{path}, {args.shape[0]} x {args.shape[1]} pixels')
        print(train_step(model, config, data))
        macs, rois = multiply_adds(model, data)
        measured = {
            part: (count, macs.get(part, 0))
            for part, count in parameters(model).items()
        }
        print(format_table(measured, implied(config, *args.shape, rois)))
        print(f'multiply-adds of a prediction, {rois} RoIs')


def image(height: int, width: int) -> Data:
    """A batch of one image of noise, with two objects."""
    torch.manual_seed(0)
    boxes = torch.tensor([[0.1, 0.1, 0.3, 0.4], [0.5, 0.2, 0.9, 0.9]])
    boxes = boxes * torch.tensor([width, height]).repeat(2)
    none = InstanceData(bboxes=boxes[:0], labels=torch.zeros(0).long())
    sample = DetDataSample(
        metainfo=dict(
            img_shape=(height, width),
            ori_shape=(height, width),
            pad_shape=(height, width),
            batch_input_shape=(height, width),
            scale_factor=(1.0, 1.0),
        ),
        gt_instances=InstanceData(
            bboxes=boxes, labels=torch.zeros(len(boxes)).long()
        ),
        ignored_instances=none,
    )
    return torch.randn(1, 3, height, width), [sample]


def train_step(model: nn.Module, config: Config, data: Data) -> str:
    """Forward, backward and a step of the config's optimizer.

    Args:
        model (nn.Module): The detector.
        config (Config): Its config.
        data (tuple): Images and samples.

    Returns:
        str: Losses, seconds and the process's peak memory.

    Raises:
        FloatingPointError: If a parameter is no longer finite.
    """
    optimizer = build_optim_wrapper(model, config.optim_wrapper)
    started = time.time()
    model.train()
    loss, logged = model.parse_losses(model.loss(*data))
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


def part_of(model: nn.Module, name: str) -> str:
    """The part of the architecture that a module or parameter belongs to."""
    parts = RFCN if hasattr(model.roi_head, 'score_maps') else FASTER_RCNN
    (part,) = (p for prefix, p in parts.items() if name.startswith(prefix))
    return part


def parameters(model: nn.Module) -> Dict[str, int]:
    """Number of parameters of each part."""
    counts: Dict[str, int] = {}
    for name, parameter in model.named_parameters():
        part = part_of(model, name)
        counts[part] = counts.get(part, 0) + parameter.numel()
    return counts


@torch.no_grad()
def multiply_adds(model: nn.Module, data: Data) -> Tuple[Dict[str, int], int]:
    """Multiply-adds of each part in a prediction, and the number of RoIs."""
    counts: Dict[str, int] = {}
    rois = []
    handles = []

    def count(part: str):
        def hook(module: nn.Module, inputs: tuple, out: Tensor) -> None:
            cells = out.numel() // len(module.weight)
            macs = cells * module.weight.numel()
            counts[part] = counts.get(part, 0) + macs

        return hook

    for name, module in model.named_modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            part = part_of(model, name)
            handles.append(module.register_forward_hook(count(part)))
    handles.append(
        model.roi_head.bbox_head.register_forward_hook(
            lambda module, inputs, out: rois.append(len(out[0]))
        )
    )
    model.eval()
    model.predict(*data)
    for handle in handles:
        handle.remove()
    return counts, rois[0]


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
    lines = [
        '| part | parameters | implied | G multiply-adds | implied |',
        '| --- | ---: | ---: | ---: | ---: |',
    ]
    for part in [*expected, 'sum']:
        if part == 'sum':
            pair = [
                tuple(map(sum, zip(*side.values())))
                for side in (measured, expected)
            ]
        else:
            pair = [measured[part], expected[part]]
        (params, macs), (own_params, own_macs) = pair
        same = (params, macs) == (own_params, own_macs)
        lines.append(
            f'| {part} | {params:,} | {own_params:,} | {macs / 1e9:.2f} | '
            f'{own_macs / 1e9:.2f} |{"" if same else " DIFFERENT"}'
        )
    return '\n'.join(lines)


if __name__ == '__main__':
    main()
