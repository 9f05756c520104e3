"""Checks for numbers that are not finite, with advice."""

import logging
import math
from typing import Dict, List, Union

import torch
from mmdet.structures.bbox import get_box_tensor
from mmdet.utils import InstanceList
from mmengine.logging import print_log
from torch import Tensor

# A gradient scaler starts at 2^16 and halves its factor at each skipped step.
# After 16 it is 1, and no longer the cause of an overflow.
MAX_SKIPPED = 16
_ADVICE = (
    'lower optim_wrapper.optimizer.lr, clip the gradients by '
    'optim_wrapper.clip_grad=dict(max_norm=1)'
)


def check_boxes(
    batch_gt_instances: InstanceList, batch_img_metas: List[dict]
) -> None:
    """Refuse annotations that are not finite.

    Args:
        batch_gt_instances (list[InstanceData]): ``bboxes`` (n, 4) in input
            pixels of each image.
        batch_img_metas (list[dict]): Meta information of each image.

    Raises:
        ValueError: If a box is not finite; it names the image and the box.
    """
    for gt_instances, img_meta in zip(batch_gt_instances, batch_img_metas):
        boxes = get_box_tensor(gt_instances.bboxes)
        bad = ~torch.isfinite(boxes).all(dim=1)
        if bad.any():
            index = int(bad.nonzero()[0])
            raise ValueError(
                f'box {index} of image {img_meta.get("img_id")} '
                f'({img_meta.get("img_path")}) must be finite, but got '
                f'{boxes[index].tolist()}: mend or drop the annotation'
            )


def check_losses(
    losses: Dict[str, Union[Tensor, List[Tensor]]],
    skipped: int,
    advice: str = '',
) -> int:
    """Raise an error for losses that are not finite.

    Under autocast the gradient scaler skips the step instead, up to
    ``MAX_SKIPPED`` times in a row. Waits for the device once.

    Args:
        losses (dict[str, Tensor | list[Tensor]]): Scalars by name.
        skipped (int): Steps in a row that were skipped before this one.
        advice (str): Advice particular to the head. Defaults to ''.

    Returns:
        int: Steps in a row that have been skipped now.

    Raises:
        FloatingPointError: If a loss is not finite, with its name.
    """
    values = torch.stack(
        [
            (sum(value) if isinstance(value, list) else value).detach()
            for value in losses.values()
        ]
    )
    found = dict(zip(losses, values.tolist()))
    if all(map(math.isfinite, found.values())):
        return 0
    text = f'the losses are {found}'
    if is_autocast(values) and skipped < MAX_SKIPPED:
        warn(f'{text}: the gradient scaler skips this step')
        return skipped + 1
    advice = _ADVICE + (advice and f', or {advice}')
    raise FloatingPointError(
        f'the training has diverged, for {text}: {advice}'
    )


def broken_proposals(img_meta: dict) -> str:
    """Error message for proposals that are not finite, with advice."""
    return (
        f'proposals of image {img_meta.get("img_id")} '
        f'({img_meta.get("img_path")}) are not finite: the weights have '
        'diverged, or half precision has overflowed. Take a checkpoint from '
        f'before, or float32; to train, {_ADVICE}'
    )


def is_autocast(values: Tensor) -> bool:
    """Whether autocast is on for a tensor's device."""
    try:
        return torch.is_autocast_enabled(values.device.type)
    except TypeError:  # before torch 2.4
        return torch.is_autocast_enabled() or torch.is_autocast_cpu_enabled()


def warn(text: str) -> None:
    """Log a warning."""
    print_log(text, logger='current', level=logging.WARNING)
