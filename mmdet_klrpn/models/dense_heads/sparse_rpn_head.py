"""RPNHead, at the cost of the anchors that matter."""

from typing import Dict, List

import torch
from mmdet.models.dense_heads import RPNHead
from mmdet.registry import MODELS
from mmdet.utils import InstanceList, OptInstanceList
from torch import Tensor

from .finite import check_losses
from .sparse_proposals import SparseProposalsMixin
from .sparse_sampling import SparseSamplingMixin


@MODELS.register_module()
class SparseRPNHead(SparseSamplingMixin, SparseProposalsMixin, RPNHead):
    """RPNHead with the same losses and proposals, sooner and in less memory.

    Its losses are those of RPNHead with the same sampled anchors, each a
    scalar and not one per level. Those of ``reg_decoded_bbox`` are computed by
    RPNHead itself. For the arguments see there.
    """

    def loss_by_feat(
        self,
        cls_scores: List[Tensor],
        bbox_preds: List[Tensor],
        batch_gt_instances: InstanceList,
        batch_img_metas: List[dict],
        batch_gt_instances_ignore: OptInstanceList = None,
    ) -> Dict[str, Tensor]:
        """Losses of the sampled anchors.

        Args:
            cls_scores (list[Tensor]): Logits per level, (N, A * S, H, W).
            bbox_preds (list[Tensor]): Encoded offsets per level, (N, A * 4,
                H, W).
            batch_gt_instances (list[InstanceData]): ``bboxes`` (n, 4) in input
                pixels and ``labels`` (n, ) of each image.
            batch_img_metas (list[dict]): Meta information of each image.
            batch_gt_instances_ignore (list[InstanceData], optional): Regions
                whose anchors are not sampled.

        Returns:
            dict[str, Tensor]: ``loss_rpn_cls`` and ``loss_rpn_bbox``.

        Raises:
            ValueError: If no anchor lies inside an image.
            FloatingPointError: As of :class:`KLRPNHead`.
        """
        args = (batch_gt_instances, batch_img_metas, batch_gt_instances_ignore)
        if self.reg_decoded_bbox:
            losses = super().loss_by_feat(cls_scores, bbox_preds, *args)
        else:
            losses = self._sparse_losses(cls_scores, bbox_preds, *args)
        self._num_skipped = check_losses(losses, self._num_skipped)
        return losses

    def _sparse_losses(
        self, cls_scores: List[Tensor], bbox_preds: List[Tensor], *args
    ) -> Dict[str, Tensor]:
        """Losses by the sampled anchors' predictions alone."""
        grid, samples = self.sample_anchors(cls_scores, *args)
        logits, deltas = grid.gather(
            samples.images, samples.anchors, cls_scores, bbox_preds
        )
        factor = dict(avg_factor=samples.avg_factor)
        num_pos = len(samples.labels)
        num_neg = len(logits) - num_pos
        background = samples.labels.new_full((num_neg,), self.num_classes)
        labels = torch.cat([samples.labels, background])
        weights = logits.new_ones(len(labels))
        weights[:num_pos] = self._positive_weight() or 1
        loss_cls = self.loss_cls(logits, labels, weights, **factor)
        # Each weighs one; with weights, mmdet's losses wait for the device.
        deltas = deltas[:num_pos]
        loss_bbox = self.loss_bbox(deltas, samples.targets, **factor)
        return dict(loss_rpn_cls=loss_cls, loss_rpn_bbox=loss_bbox)

    def _ranking(self, cls_score: Tensor) -> Tensor:
        """Logits: the sigmoid keeps their order, and ties some of them."""
        if self.use_sigmoid_cls:
            return cls_score
        return cls_score.unflatten(1, (-1, 2)).softmax(dim=2)[:, :, 0]

    def _describe(
        self, priors: Tensor, deltas: Tensor, cls_scores: Tensor
    ) -> Dict[str, Tensor]:
        if self.use_sigmoid_cls:
            return dict(scores=cls_scores.sigmoid()[:, 0])
        return dict(scores=cls_scores.softmax(dim=1)[:, 0])
