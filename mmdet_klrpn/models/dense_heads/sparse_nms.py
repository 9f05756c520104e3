"""NMS that stops once enough boxes are kept."""

import numpy as np
import torch
from mmcv.ops import nms
from torch import Tensor
from torch.nn.functional import pad
from torchvision import ops

# On these devices NMS compares pair by pair, faster level by level.
_SERIAL_DEVICES = ('cpu',)


def suppress(
    boxes: Tensor,
    scores: Tensor,
    level_ids: Tensor,
    is_valid: Tensor,
    iou_threshold: float,
    max_num: int,
) -> Tensor:
    """Return the boxes that survive NMS within their level, best first.

    The first ``max_num`` valid boxes that :func:`mmcv.ops.batched_nms` keeps,
    up to ties. Only boxes of higher scores suppress a box, so NMS need not
    read boxes once ``max_num`` are kept.

    Args:
        boxes (Tensor): (n, 4), x1, y1, x2, y2.
        scores (Tensor): (n, ), at least 0.
        level_ids (Tensor): (n, ).
        is_valid (Tensor): (n, ), bool, which boxes to consider. They must not
            be empty.
        iou_threshold (float): IoU, below 1, above which the lower score is
            suppressed.
        max_num (int): Maximum number to keep.

    Returns:
        Tensor: (k, ) indices of the kept, by descending score.
    """
    # Wait for the device once, in NMS: removing invalid boxes before would
    # wait too. Instead all of them, and one more, become the same box on their
    # own level, of which NMS keeps one, the last.
    is_valid = pad(is_valid, (0, 1))
    dummy = torch.arange(4, device=boxes.device) // 2  # 0, 0, 1, 1
    boxes = pad(boxes, (0, 0, 0, 1))
    boxes = torch.where(is_valid[:, None], boxes, dummy.to(boxes))
    scores = torch.where(is_valid, pad(scores, (0, 1)), -1.0)
    level_ids = torch.where(is_valid, pad(level_ids, (0, 1)), -1)
    # Same level offset as mmcv.ops.batched_nms, so that IoUs round alike.
    boxes = boxes + (level_ids.to(boxes) * (boxes.max() + 1))[:, None]
    for count in sorted({min(2 * max_num, len(boxes)), len(boxes)}):
        order = scores.topk(count).indices
        keep = _suppress(boxes, scores, level_ids, order, iou_threshold)
        if len(keep) > max_num:
            break
    keep = keep[: min(max_num, len(keep) - 1)]
    return order[keep]


def _suppress(
    boxes: Tensor,
    scores: Tensor,
    level_ids: Tensor,
    order: Tensor,
    iou_threshold: float,
) -> Tensor:
    """Ascending positions (k, ) of the kept boxes, in order of score."""
    boxes, scores = boxes[order], scores[order]
    if boxes.device.type not in _SERIAL_DEVICES:
        return nms(boxes, scores, iou_threshold)[1].sort()[0]
    # Compares in float32 as mmcv does; torchvision's kernel is several times
    # faster.
    iou_threshold = float(np.float32(iou_threshold))
    level_ids, kept = level_ids[order], []
    for level in level_ids.unique():
        own = (level_ids == level).nonzero()[:, 0]
        kept.append(own[ops.nms(boxes[own], scores[own], iou_threshold)])
    return torch.cat(kept).sort()[0]
