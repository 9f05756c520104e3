"""Plain torch in place of an operator that mmcv has for GPUs alone."""

from contextlib import contextmanager
from importlib import import_module
from typing import Iterator
from unittest import mock

import torch
from torch import Tensor
from torch.nn.functional import interpolate, unfold


def carafe(
    features: Tensor,
    masks: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> Tensor:
    """Content-aware reassembly of features, as mmcv.ops.carafe computes it.

    Wang et al., "CARAFE: Content-Aware ReAssembly of FEatures", ICCV 2019.

    Args:
        features (Tensor): (N, C, H, W).
        masks (Tensor): Kernels of the outputs, (N, group_size *
            kernel_size ** 2, H * scale_factor, W * scale_factor).
        kernel_size (int): Width of a kernel.
        group_size (int): Groups of channels with a kernel each.
        scale_factor (int): How much larger the output is.
    """
    n, c, h, w = features.shape
    windows = unfold(features, kernel_size, padding=kernel_size // 2)
    cells = kernel_size**2
    windows = interpolate(
        windows.view(n, c * cells, h, w), scale_factor=scale_factor
    )
    size = masks.shape[-2:]
    windows = windows.view(n, group_size, c // group_size, cells, *size)
    kernels = masks.view(n, group_size, 1, cells, *size)
    return (windows * kernels).sum(dim=3).view(n, c, *size)


@contextmanager
def cpu_operators() -> Iterator[None]:
    """Let mmcv's CARAFE run on a machine without a GPU."""
    if torch.cuda.is_available():
        yield
        return
    # The module, which the function of its name hides from mmcv.ops.
    module = import_module('mmcv.ops.carafe')
    with mock.patch.object(module, 'carafe', carafe):
        yield
