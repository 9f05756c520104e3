"""RPNHead, computed only for the anchors that matter."""

from typing import Dict

import torch
from mmdet.models.dense_heads import RPNHead
from mmdet.models.losses import QualityFocalLoss
from mmdet.registry import MODELS
from mmdet.structures.bbox import bbox_overlaps, get_box_tensor
from torch import Tensor

from .second_look_mixin import SecondLookMixin
from .sparse_proposals import SparseProposalsMixin
from .sparse_sampling import Samples, SparseSamplingMixin


@MODELS.register_module()
class SparseRPNHead(
    SecondLookMixin, SparseSamplingMixin, SparseProposalsMixin, RPNHead
):
    """RPNHead with the same losses and proposals, faster in less memory.

    Losses equal those of RPNHead for the same sampled anchors, but are scalars
    instead of one per level. RPNHead itself computes those of
    ``reg_decoded_bbox``. Takes the arguments of RPNHead.

    It can be trained with ``QualityFocalLoss`` too (Li et al., "Generalized
    Focal Loss", NeurIPS 2020), which RPNHead cannot: a positive's target is
    the IoU of its predicted box with its object. ``beta=0`` makes that loss
    the binary cross-entropy.
    """

    def _losses(
        self, logits: Tensor, deltas: Tensor, samples: Samples
    ) -> Dict[str, Tensor]:
        """``loss_rpn_cls`` and ``loss_rpn_bbox`` of predictions of samples."""
        factor = dict(avg_factor=samples.avg_factor)
        num_pos = len(samples.labels)
        num_neg = len(logits) - num_pos
        background = samples.labels.new_full((num_neg,), self.num_classes)
        labels = torch.cat([samples.labels, background])
        weights = logits.new_ones(len(labels))
        weights[:num_pos] = self._positive_weight() or 1
        deltas = deltas[:num_pos]
        if isinstance(self.loss_cls, QualityFocalLoss):
            ious = weights.new_zeros(len(labels))
            ious[:num_pos] = self._ious(deltas.detach(), samples.targets)
            labels = labels, ious
        loss_cls = self.loss_cls(logits, labels, weights, **factor)
        # No weights: with them, mmdet's losses wait for the device.
        loss_bbox = self.loss_bbox(deltas, samples.targets, **factor)
        return dict(loss_rpn_cls=loss_cls, loss_rpn_bbox=loss_bbox)

    def _ious(self, deltas: Tensor, targets: Tensor) -> Tensor:
        """IoUs (p, ) of boxes by their offsets (p, 4) from the same anchors.

        The anchors do not matter: IoU is independent of place and scale.
        """
        anchors = deltas.new_tensor([0, 0, 1, 1]).expand_as(deltas)
        boxes, objects = (
            get_box_tensor(self.bbox_coder.decode(anchors, offsets))
            for offsets in (deltas, targets)
        )
        return bbox_overlaps(boxes, objects, is_aligned=True)

    def _ranking(self, cls_score: Tensor) -> Tensor:
        """Return logits: the sigmoid would only tie some of them."""
        if self.use_sigmoid_cls:
            return cls_score
        return cls_score.unflatten(1, (-1, 2)).softmax(dim=2)[:, :, 0]

    def _describe(
        self, priors: Tensor, deltas: Tensor, cls_scores: Tensor
    ) -> Dict[str, Tensor]:
        if self.use_sigmoid_cls:
            return dict(scores=cls_scores.sigmoid()[:, 0])
        return dict(scores=cls_scores.softmax(dim=1)[:, 0])
