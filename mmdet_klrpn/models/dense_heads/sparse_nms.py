"""NMS that stops once enough boxes are kept."""

import numpy as np
import torch
from mmcv.ops import nms
from torch import Tensor
from torch.nn.functional import pad
from torchvision import ops

# Where NMS compares pair after pair, and levels are faster one at a time.
_SERIAL_DEVICES = ('cpu',)


def suppress(
    boxes: Tensor,
    scores: Tensor,
    level_ids: Tensor,
    is_valid: Tensor,
    iou_threshold: float,
    max_num: int,
) -> Tensor:
    """Boxes that survive NMS within their level, the best first.

    What :func:`mmcv.ops.batched_nms` keeps of the valid boxes, up to ties, cut
    to ``max_num``. Suppression comes from boxes of higher scores only, so
    boxes beyond those that fill ``max_num`` need not be looked at.

    Args:
        boxes (Tensor): (n, 4), x1, y1, x2, y2.
        scores (Tensor): (n, ), at least 0.
        level_ids (Tensor): (n, ).
        is_valid (Tensor): (n, ), bool, which boxes to consider. They have an
            extent.
        iou_threshold (float): IoU, below 1, above which the lower score is
            suppressed.
        max_num (int): How many to keep at most.

    Returns:
        Tensor: (k, ) indices of the kept, by descending score.
    """
    # The device is waited for once, in NMS. Other boxes are not removed before
    # it, which would wait too: all become one box on a level of its own, and
    # so does one more, of which NMS keeps one, the last.
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
    """Positions (k, ), ascending, of the kept in an order by score."""
    boxes, scores = boxes[order], scores[order]
    if boxes.device.type not in _SERIAL_DEVICES:
        return nms(boxes, scores, iou_threshold)[1].sort()[0]
    # As mmcv compares, in float32, but torchvision's is several times faster.
    iou_threshold = float(np.float32(iou_threshold))
    level_ids, kept = level_ids[order], []
    for level in level_ids.unique():
        own = (level_ids == level).nonzero()[:, 0]
        kept.append(own[ops.nms(boxes[own], scores[own], iou_threshold)])
    return torch.cat(kept).sort()[0]
