"""What is left of an image's refined RoIs, and the vote on their boxes."""

from typing import Optional

import torch
from mmcv.ops import bbox_overlaps
from mmdet.models.layers import multiclass_nms
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor


def suppress_detections(
    bboxes: Tensor, scores: Tensor, stds: Optional[Tensor], cfg: ConfigDict
) -> InstanceData:
    """Suppress an image's boxes per class, as BBoxHead, and vote if asked to.

    Args:
        bboxes (Tensor): (n, 4), or (n, num_classes * 4), in pixels.
        scores (Tensor): Of the classes, (n, num_classes + 1).
        stds (Tensor, optional): Standard deviations of the edges, like the
            boxes.
        cfg (ConfigDict): ``test_cfg.rcnn``: ``score_thr``, ``nms``,
            ``max_per_img`` and, if boxes are to vote, ``box_voting`` with the
            arguments of :func:`vote`.

    Returns:
        InstanceData: ``bboxes`` (m, 4), ``scores``, ``labels`` and, if stds
        are given, ``bbox_stds`` (m, 4), by descending score.
    """
    num_classes = scores.shape[1] - 1
    dets, labels, kept = multiclass_nms(
        bboxes,
        scores,
        cfg.score_thr,
        cfg.nms,
        cfg.max_per_img,
        return_inds=True,
    )
    results = InstanceData(bboxes=dets[:, :4])
    results.scores, results.labels = dets[:, 4], labels
    if stds is not None:
        stds = _per_class(stds, num_classes)
        results.bbox_stds = stds[kept]
    if cfg.get('box_voting') is not None and len(dets):
        (voters,) = (scores[:, :-1].flatten() > cfg.score_thr).nonzero().T
        results.bboxes = vote(
            results.bboxes,
            labels,
            _per_class(bboxes, num_classes)[voters],
            voters % num_classes,
            None if stds is None else stds[voters],
            **cfg.box_voting,
        )
    return results


def vote(
    bboxes: Tensor,
    labels: Tensor,
    voters: Tensor,
    voter_labels: Tensor,
    stds: Optional[Tensor] = None,
    sigma: float = 0.02,
) -> Tensor:
    r"""Move each box to the weighted mean of those of its class around it.

    He et al., "Bounding Box Regression with Uncertainty for Accurate Object
    Detection", CVPR 2019, section 3.3: an edge of voter i weighs
    :math:`\exp(-(1 - \mathrm{IoU}_i)^2 / \sigma_t) / \sigma_i^2` if it
    overlaps, where :math:`\sigma_i` is the edge's std. Without stds only the
    IoU counts.

    Args:
        bboxes (Tensor): (m, 4), in pixels.
        labels (Tensor): (m, ), their classes.
        voters (Tensor): (k, 4), boxes before suppression, the m among them.
        voter_labels (Tensor): (k, ), their classes.
        stds (Tensor, optional): (k, 4), stds > 0 of the voters' edges.
        sigma (float): :math:`\sigma_t` > 0. The larger, the more a voter with
            a small IoU counts. Defaults to 0.02, as in the paper.

    Returns:
        Tensor: (m, 4). A box without a voter stays.
    """
    ious = bbox_overlaps(bboxes.float(), voters.float())
    weights = torch.exp(-((1 - ious) ** 2) / sigma)
    votes = (ious > 0) & (labels[:, None] == voter_labels)
    weights = (weights * votes)[..., None]
    if stds is not None:
        weights = weights / stds.float() ** 2
    total = weights.sum(dim=1)
    mean = (weights * voters).sum(dim=1) / total
    return torch.where(total > 0, mean.to(bboxes), bboxes)


def _per_class(values: Tensor, num_classes: int) -> Tensor:
    """(n, 4) or (n, num_classes * 4) as (n * num_classes, 4)."""
    values = values.unflatten(1, (-1, 4))
    return values.expand(-1, num_classes, -1).reshape(-1, 4)
