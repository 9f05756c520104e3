"""Stop at the first number that is not finite, and say what to do."""

import logging
from typing import Dict, List

import torch
from mmdet.structures.bbox import get_box_tensor
from mmdet.utils import InstanceList
from mmengine.logging import print_log
from torch import Tensor, nn

_ADVICE = (
    'lower optim_wrapper.optimizer.lr, clip the gradients by '
    'optim_wrapper.clip_grad=dict(max_norm=10)'
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


def check_losses(losses: Dict[str, Tensor], advice: str) -> None:
    """Refuse to go on with losses that are not finite.

    It waits for the device once, however many losses there are.

    Args:
        losses (dict[str, Tensor]): Scalars by name.
        advice (str): What is particular to the head that computed them.

    Raises:
        FloatingPointError: If one is not finite; it names it.
    """
    values = torch.stack([value.detach() for value in losses.values()])
    finite = torch.isfinite(values).tolist()
    if all(finite):
        return
    values = dict(zip(losses, values.tolist()))
    raise FloatingPointError(
        f'the training has diverged, for the losses are {values}: '
        f'{_ADVICE}, or {advice}'
    )


def report_dropped(head: nn.Module) -> None:
    """Tell of proposals that were not finite and have been dropped.

    Args:
        head (nn.Module): The head that predicted them. In training their
            gradients are not finite either.

    Raises:
        FloatingPointError: In training.
    """
    text = (
        f'some proposals of {type(head).__name__} are not finite: the weights '
        'have diverged, or half precision has overflowed'
    )
    if head.training:
        raise FloatingPointError(f'{text}: {_ADVICE}')
    if not getattr(head, '_has_reported', False):
        head._has_reported = True
        print_log(
            f'{text}. They are dropped, here and from now on. Take a '
            'checkpoint from before, or float32',
            logger='current',
            level=logging.WARNING,
        )
