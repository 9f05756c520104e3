"""Stop at the first number that is not finite, and say what to do."""

from typing import Dict, List

import torch
from mmdet.structures.bbox import get_box_tensor
from mmdet.utils import InstanceList
from torch import Tensor

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


def are_finite(values: Tensor) -> Tensor:
    """Whether all values of an image are finite, (N, ) of (N, ...)."""
    return torch.isfinite(values).flatten(1).all(dim=1)


def rows_unless_broken(
    wanted: Tensor, broken: Tensor, img_meta: dict
) -> Tensor:
    """Numbers of the rows that are wanted; refuses an image that is broken.

    It waits for the device once, as without the refusal.

    Args:
        wanted (Tensor): Whether a row is, (n, ).
        broken (Tensor): Whether the image is, (n, ) times the same.
        img_meta (dict): Meta information of the image.

    Returns:
        Tensor: (k, ), ascending.

    Raises:
        FloatingPointError: If it is broken; it names the image.
    """
    # More rows than there can be: the number of those found then tells.
    found = torch.cat([wanted, broken, broken[:1]]).nonzero()[:, 0]
    if len(found) <= len(wanted):
        return found
    raise FloatingPointError(
        f'the proposals of image {img_meta.get("img_id")} '
        f'({img_meta.get("img_path")}) are not finite: the weights have '
        'diverged, or half precision has overflowed. Take a checkpoint from '
        f'before, or float32; to train, {_ADVICE}'
    )
