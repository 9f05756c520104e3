"""Box heads that predict how far the edges of a detection are off."""

import math
from typing import Optional, Tuple

import torch
from mmdet.models.roi_heads.bbox_heads import Shared2FCBBoxHead
from mmdet.models.task_modules.coders import DeltaXYWHBBoxCoder
from mmdet.registry import MODELS
from mmdet.structures.bbox import scale_boxes
from mmdet.utils import ConfigType
from torch import Tensor, nn

from mmdet_klrpn.models.checks import check
from mmdet_klrpn.models.dense_heads.log_variance import log_variance
from mmdet_klrpn.models.task_modules import decode_delta_xywh_stds

from .rfcn_bbox_head import RFCNBBoxHead
from .vgg_bbox_head import VGGBBoxHead
from .voting_bbox_head import VotingBBoxMixin


class KLBBoxMixin(VotingBBoxMixin):
    r"""Adds stds of the offsets to a BBoxHead, to be inherited before it.

    He et al., "Bounding Box Regression with Uncertainty for Accurate Object
    Detection", CVPR 2019: a head predicts a Gaussian over the encoded offsets
    of an RoI, trained by the KL divergence to a Dirac at those of its object.
    There the divergence is the loss of the offsets too, and whatever the head
    is unsure of learns little. Here the offsets keep the head's own
    ``loss_bbox``, and the divergence trains the stds alone, from the features
    at hand: a layer is added, and nothing of the detector without it changes.

    ``fc_reg`` (R-FCN: ``rfcn_reg``) keeps its weights' names, so that a
    checkpoint of the detector without stds can be loaded and trained on.

    Detections get ``bbox_stds`` (n, 4): the std of x1, y1, x2, y2 in pixels of
    the original image, with ``rescale=False`` too, as a mask head rescales
    boxes on its own. The clipping of boxes at the border of the image is not
    modelled: there the std is that of the unclipped edge, and too large.

    Args:
        num_stds (int): Standard deviations per box: 1 shared by the four
            offsets, or 4. Defaults to 4.
        min_std (float): Floor of the predicted std, in encoded offsets, which
            a Dirac needs. Defaults to 0.03.
        std_scale (float): Factor on ``bbox_stds``, fitted by
            ``klrpn recalibrate``. Defaults to 1.
        loss_kl (dict): Config of the divergence. Defaults to ``KLDivLoss``.

    Raises:
        ValueError: If an option is out of its range, or the head predicts no
            offsets by one linear layer and a DeltaXYWHBBoxCoder.
    """

    def __init__(
        self,
        *args,
        num_stds: int = 4,
        min_std: float = 0.03,
        std_scale: float = 1.0,
        loss_kl: ConfigType = dict(type='KLDivLoss', loss_weight=1.0),
        **kwargs,
    ) -> None:
        super().__init__(*args, **kwargs)
        check('num_stds', num_stds, num_stds in (1, 4), '1 or 4')
        check('min_std', min_std, 0 < min_std < 1, 'in (0, 1)')
        in_range = 0 < std_scale < math.inf
        check('std_scale', std_scale, in_range, '> 0 and finite')
        known = isinstance(self.bbox_coder, DeltaXYWHBBoxCoder)
        remedy = 'a DeltaXYWHBBoxCoder: stds go through its decoder'
        check('bbox_coder', type(self.bbox_coder).__name__, known, remedy)
        self.num_stds = num_stds
        self.min_std = min_std
        self.std_scale = std_scale
        self.loss_kl = MODELS.build(loss_kl)
        for name, kind in (('fc_reg', _LinearStds), ('rfcn_reg', _ConvStds)):
            layer = getattr(self, name, None)
            if type(layer) in (nn.Linear, nn.Conv2d):
                setattr(self, name, kind(layer, num_stds))
                return
        raise ValueError(
            f'{type(self).__name__} must predict offsets by a torch.nn.Linear '
            'fc_reg or a Conv2d rfcn_reg: leave out with_reg=False and '
            'reg_predictor_cfg'
        )

    def _split(self, bbox_pred: Tensor) -> Tuple[Tensor, Optional[Tensor]]:
        """Offsets (n, k * 4) and logits (n, k * S) of their stds."""
        boxes = 1 if self.reg_class_agnostic else self.num_classes
        sizes = [boxes * 4, boxes * self.num_stds]
        offsets, logits = bbox_pred.split(sizes, dim=1)
        return offsets.contiguous(), logits  # which BBoxHead views as boxes

    def regress_by_class(
        self, priors: Tensor, label: Tensor, bbox_pred: Tensor, img_meta: dict
    ) -> Tensor:
        """Refine RoIs for the next stage of a cascade, as in BBoxHead."""
        offsets, _ = self._split(bbox_pred)
        return super().regress_by_class(priors, label, offsets, img_meta)

    def loss(
        self,
        cls_score: Tensor,
        bbox_pred: Optional[Tensor],
        rois: Tensor,
        labels: Tensor,
        label_weights: Tensor,
        bbox_targets: Tensor,
        bbox_weights: Tensor,
        reduction_override: Optional[str] = None,
    ) -> dict:
        """The head's own losses, and the divergence of positives.

        Args:
            cls_score (Tensor): (n, num_classes + 1).
            bbox_pred (Tensor, optional): What ``forward`` gives of n RoIs.
                OHEM, which scores them all first, leaves it out.
            rois (Tensor): (n, 5).
            labels (Tensor): (n, ), the background is ``num_classes``.
            label_weights (Tensor): (n, ).
            bbox_targets (Tensor): (n, 4), encoded offsets, or boxes in input
                pixels with ``reg_decoded_bbox``.
            bbox_weights (Tensor): (n, 4).
            reduction_override (str, optional): Replaces that of the losses.

        Returns:
            dict[str, Tensor]: As in BBoxHead, and ``loss_kl``.
        """
        logits = None
        if bbox_pred is not None:
            bbox_pred, logits = self._split(bbox_pred)
        losses = super().loss(
            cls_score,
            bbox_pred,
            rois,
            labels,
            label_weights,
            bbox_targets,
            bbox_weights,
            reduction_override,
        )
        if logits is None:
            return losses
        # Negatives weigh 0, where to pick positives would wait for the device.
        positive = ((labels >= 0) & (labels < self.num_classes))[:, None]
        rows = torch.arange(len(labels), device=labels.device)
        own = 0
        if not self.reg_class_agnostic:
            own = labels.clamp(0, self.num_classes - 1)
        mean = bbox_pred.detach().unflatten(1, (-1, 4))[rows, own]
        logits = logits.unflatten(1, (-1, self.num_stds))[rows, own]
        if self.reg_decoded_bbox:
            boxes = torch.where(positive, bbox_targets, rois[:, 1:])
            bbox_targets = self.bbox_coder.encode(rois[:, 1:], boxes)
        losses['loss_kl'] = self.loss_kl(
            mean,
            self._log_variances(logits),
            bbox_targets,
            0.0,
            weight=bbox_weights * positive,
            avg_factor=max(len(labels), 1),
            reduction_override='mean',
        )
        return losses

    def _log_variances(self, logits: Tensor) -> Tensor:
        """Log-variances of encoded offsets; the std is 1 at a logit of 0."""
        return log_variance(logits.float(), self.min_std, 1.0)

    def _pixel_stds(
        self, roi: Tensor, offsets: Tensor, logits: Tensor, img_meta: dict
    ) -> Tensor:
        """Stds (n, k * 4) of edges in pixels of the original image."""
        boxes = offsets.shape[1] // 4
        stds = (0.5 * self._log_variances(logits)).exp()
        stds = stds.reshape(-1, self.num_stds)
        priors = roi.repeat_interleave(boxes, dim=0)
        offsets = offsets.reshape(-1, 4).float()
        stds = decode_delta_xywh_stds(self.bbox_coder, priors, offsets, stds)
        scale = img_meta.get('scale_factor', (1.0, 1.0))
        stds = scale_boxes(stds, [self.std_scale / s for s in scale])
        return stds.view(len(roi), boxes * 4)


class _StdsMixin:
    """A layer that predicts offsets, with one beside it that predicts stds.

    The stds learn from the layer's input, which learns nothing from them.
    """

    stds: nn.Module

    def forward(self, x: Tensor) -> Tensor:
        """Channels of the offsets, then those of the stds' logits."""
        return torch.cat([super().forward(x), self.stds(x.detach())], dim=1)


class _LinearStds(_StdsMixin, nn.Linear):
    def __init__(self, layer: nn.Linear, num_stds: int) -> None:
        sizes = layer.in_features, layer.out_features
        super().__init__(*sizes)
        self.stds = nn.Linear(sizes[0], sizes[1] // 4 * num_stds)


class _ConvStds(_StdsMixin, nn.Conv2d):
    def __init__(self, layer: nn.Conv2d, num_stds: int) -> None:
        sizes = layer.in_channels, layer.out_channels
        super().__init__(*sizes, 1)
        self.stds = nn.Conv2d(sizes[0], sizes[1] // 4 * num_stds, 1)
        # By their number R-FCN knows maps from features.
        self.out_channels += self.stds.out_channels


@MODELS.register_module()
class KLBBoxHead(KLBBoxMixin, Shared2FCBBoxHead):
    """Shared2FCBBoxHead with stds, see :class:`KLBBoxMixin`.

    It takes the arguments of Shared2FCBBoxHead, and those of the mixin.
    """


@MODELS.register_module()
class KLVGGBBoxHead(KLBBoxMixin, VGGBBoxHead):
    """VGGBBoxHead with stds, see :class:`KLBBoxMixin`."""


@MODELS.register_module()
class KLRFCNBBoxHead(KLBBoxMixin, RFCNBBoxHead):
    """RFCNBBoxHead with stds, see :class:`KLBBoxMixin`.

    As scores and offsets do, the stds' logits vote: an RoI's is the mean over
    its bins.
    """
