"""The region proposal head whose objectness is its predicted uncertainty.

Vocabulary and shapes, for the whole file:
    N     images in the batch
    A     base anchors per location
    S     standard deviations per anchor, 1 or 4 (``num_stds``)
    H, W  size of one level's feature map
    R     anchors of an image over all levels, the sum of A * H * W
    offset, encoded offset: dx, dy, dw, dh of the bbox coder
"""

import math
from typing import Dict, List, Optional, Tuple

import torch
from mmdet.models.dense_heads import RPNHead
from mmdet.models.task_modules.coders import DeltaXYWHBBoxCoder
from mmdet.registry import MODELS
from mmdet.structures.bbox import cat_boxes
from mmdet.utils import ConfigType, InstanceList, OptInstanceList, reduce_mean
from mmengine.config import ConfigDict
from mmengine.logging import print_log
from mmengine.structures import InstanceData
from torch import Tensor
from torch.nn.functional import relu

from mmdet_klrpn.models.task_modules import decode_delta_xywh_stds

from .log_variance import log_variance, objectness


@MODELS.register_module()
class KLRPNHead(RPNHead):
    """RPN head trained by one loss, the KL divergence of box offsets.

    Seo et al., "KL-Divergence-Based Region Proposal Network for Object
    Detection", ICIP 2020. An anchor predicts a Gaussian over its encoded
    offsets. A positive's target is a Dirac (or narrow Gaussian) at the offsets
    of its ground-truth box, a negative's a wide Gaussian around its own mean.
    The predicted standard deviation replaces the classifier's score.

    A drop-in for :class:`RPNHead`: it takes every argument of that head, of
    which ``loss_cls`` and ``loss_bbox`` are accepted and unused. Parameters
    keep their names; ``rpn_cls`` predicts the logits that
    :mod:`.log_variance` turns into log-variances, so that the checkpoint of a
    trained RPNHead ranks proposals as it did. Its one logit per anchor is
    repeated for four stds, which is logged.

    What the sources leave open is an option here; each default is ours.

    Args:
        in_channels (int): Channels of the features.
        num_classes (int): Must be 1.
        num_stds (int): Standard deviations per anchor: 1 shared by the four
            offsets, or 4. Defaults to 4.
        pos_std (float): Std of a positive's target, in encoded offsets. 0 is
            the Dirac. Defaults to 0.
        neg_std (float): Std of a negative's target, in encoded offsets: how
            much localisation counts in the objectness, less the larger it
            is. Defaults to 0.5.
        min_std (float): Floor of the predicted std, in encoded offsets,
            without which a Dirac has no minimum. Defaults to 0.03.
        neg_divergence (str): 'forward', KL(target || prediction), or
            'reverse', KL(prediction || target), for negatives. The cost of
            the former grows exponentially with the confidence in an object
            that nobody labelled, that of the latter linearly. Positives always
            use the forward one, the only one finite for a Dirac. Defaults to
            'reverse'.
        loss_kl (dict): Config of the loss. Defaults to ``KLDivLoss``.
        **kwargs: Further arguments of :class:`RPNHead`.

    Raises:
        ValueError: If an option is out of its range, ``reg_decoded_bbox`` is
            set, or the bbox coder is no DeltaXYWHBBoxCoder.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int = 1,
        *,
        num_stds: int = 4,
        pos_std: float = 0.0,
        neg_std: float = 0.5,
        min_std: float = 0.03,
        neg_divergence: str = 'reverse',
        loss_kl: ConfigType = dict(type='KLDivLoss', loss_weight=1.0),
        **kwargs,
    ) -> None:
        _check('num_classes', num_classes, num_classes == 1, '1')
        _check('num_stds', num_stds, num_stds in (1, 4), '1 or 4')
        _check('neg_std', neg_std, neg_std > 0, '> 0')
        in_range = 0 <= pos_std < neg_std
        _check('pos_std', pos_std, in_range, f'in [0, neg_std={neg_std})')
        in_range = 0 < min_std < neg_std
        _check('min_std', min_std, in_range, f'in (0, neg_std={neg_std})')
        names = ('forward', 'reverse')
        known = neg_divergence in names
        _check('neg_divergence', neg_divergence, known, f'one of {names}')

        # AnchorHead.__init__ calls _init_layers, which reads this.
        self.num_stds = num_stds
        super().__init__(in_channels, num_classes, **kwargs)
        decoded = self.reg_decoded_bbox
        remedy = 'False: the divergence is one of encoded offsets'
        _check('reg_decoded_bbox', decoded, not decoded, remedy)
        known = isinstance(self.bbox_coder, DeltaXYWHBBoxCoder)
        remedy = 'a DeltaXYWHBBoxCoder: stds go through its decoder'
        _check('bbox_coder', type(self.bbox_coder).__name__, known, remedy)
        self.pos_std = pos_std
        self.neg_std = neg_std
        self.neg_divergence = neg_divergence
        self.min_std = min_std
        self.loss_kl = MODELS.build(loss_kl)

    def _init_layers(self) -> None:
        """Give ``rpn_cls`` one logit per std instead of one per class."""
        self.cls_out_channels = self.num_stds
        super()._init_layers()

    def forward_single(self, x: Tensor) -> Tuple[Tensor, Tensor]:
        """Predict the offsets' Gaussian on one level.

        Args:
            x (Tensor): Features, (N, C, H, W).

        Returns:
            tuple:

            - log_var (Tensor): Log-variances of encoded offsets, (N, A * S,
              H, W), in float32 at least.
            - bbox_pred (Tensor): Their means, (N, A * 4, H, W).
        """
        x = relu(self.rpn_conv(x))
        bbox_pred = self.rpn_reg(x)
        dtype = self.rpn_cls.weight.dtype
        if x.dtype == dtype:
            logits = self.rpn_cls(x)
        else:
            # In autocast's half precision the scores would tie by hundreds.
            with torch.autocast(x.device.type, enabled=False):
                logits = self.rpn_cls(x.to(dtype))
        dtype = torch.promote_types(dtype, torch.float32)
        log_var = log_variance(logits.to(dtype), self.min_std, self.neg_std)
        return log_var, bbox_pred

    def loss_by_feat(
        self,
        log_vars: List[Tensor],
        bbox_preds: List[Tensor],
        batch_gt_instances: InstanceList,
        batch_img_metas: List[dict],
        batch_gt_instances_ignore: OptInstanceList = None,
    ) -> Dict[str, Tensor]:
        """Sum of the sampled anchors' divergences, over their number.

        Args:
            log_vars (list[Tensor]): Log-variances per level, (N, A * S, H, W).
            bbox_preds (list[Tensor]): Means per level, (N, A * 4, H, W).
            batch_gt_instances (list[InstanceData]): ``bboxes`` (n, 4) in input
                pixels and ``labels`` (n, ) of each image.
            batch_img_metas (list[dict]): Meta information of each image.
            batch_gt_instances_ignore (list[InstanceData], optional): Regions
                whose anchors are not sampled.

        Returns:
            dict[str, Tensor]: Scalars: ``loss_rpn_pos`` and ``loss_rpn_neg``,
            and, logged but not summed into the total, the positives per image
            ``rpn_num_pos`` and the mean std, in encoded offsets, of positives
            and negatives, ``rpn_pos_std`` and ``rpn_neg_std`` (0 of none).

        Raises:
            ValueError: If no anchor lies inside an image.
        """
        featmap_sizes = [log_var.shape[-2:] for log_var in log_vars]
        anchors, valid_flags = self.get_anchors(
            featmap_sizes, batch_img_metas, device=log_vars[0].device
        )
        _, label_weights, targets, target_weights, avg_factor = (
            self.get_targets(
                anchors,
                valid_flags,
                batch_gt_instances,
                batch_img_metas,
                batch_gt_instances_ignore=batch_gt_instances_ignore,
            )
        )
        # (N, R, ...) to rows of anchors, then only those that were sampled:
        # an ignored anchor's inf times a weight of 0 would be nan.
        weights = torch.cat(label_weights, dim=1).flatten()
        targets = torch.cat(targets, dim=1).flatten(0, 1)
        is_pos = torch.cat(target_weights, dim=1).flatten(0, 1).any(dim=1)
        pos = is_pos.nonzero().squeeze(1)
        neg = ((weights > 0) & ~is_pos).nonzero().squeeze(1)
        log_var = _anchor_rows(log_vars, self.num_stds)
        mean = _anchor_rows(bbox_preds, 4)

        # The same on every rank, or ranks with few samples would weigh more.
        avg_factor = reduce_mean(log_var.new_tensor(float(avg_factor)))
        loss_pos = self.loss_kl(
            mean[pos],
            log_var[pos],
            targets[pos],
            self.pos_std,
            weight=weights[pos, None],
            avg_factor=avg_factor,
            reduction_override='mean',
        )
        loss_neg = self._loss_neg(mean[neg], log_var[neg], avg_factor)
        return dict(
            loss_rpn_pos=loss_pos,
            loss_rpn_neg=loss_neg,
            rpn_num_pos=log_var.new_tensor(len(pos) / len(batch_img_metas)),
            rpn_pos_std=_mean_std(log_var[pos]),
            rpn_neg_std=_mean_std(log_var[neg]),
        )

    def _loss_neg(
        self, mean: Tensor, log_var: Tensor, avg_factor: Tensor
    ) -> Tensor:
        """Divergence of negatives, mean (n, 4) and log_var (n, S)."""
        mean = mean.detach()  # a negative has no box: it must not move one
        log_var = log_var.expand(-1, 4)
        if self.neg_divergence == 'forward':
            prediction, target = (mean, log_var), (mean, self.neg_std)
        else:
            neg_log_var = torch.full_like(log_var, 2 * math.log(self.neg_std))
            prediction = (mean, neg_log_var)
            target = (mean, (0.5 * log_var).exp())
        factor = dict(avg_factor=avg_factor, reduction_override='mean')
        return self.loss_kl(*prediction, *target, **factor)

    def _predict_by_feat_single(
        self,
        cls_score_list: List[Tensor],
        bbox_pred_list: List[Tensor],
        score_factor_list: List[Optional[Tensor]],
        mlvl_priors: List[Tensor],
        img_meta: dict,
        cfg: Optional[ConfigDict],
        rescale: bool = False,
        with_nms: bool = True,
    ) -> InstanceData:
        """Turn one image's Gaussians into proposals.

        Args:
            cls_score_list (list[Tensor]): Log-variances per level, (A * S, H,
                W), under the name that the parent passes them by.
            bbox_pred_list (list[Tensor]): Means per level, (A * 4, H, W).
            score_factor_list (list[None]): Unused.
            mlvl_priors (list[Tensor]): Anchors per level, (A * H * W, 4).
            img_meta (dict): Meta information of the image.
            cfg (ConfigDict, optional): Replaces ``test_cfg``.
            rescale (bool): Whether to return boxes and stds in pixels of the
                original image. Defaults to False.
            with_nms (bool): Unused, as in the parent: there is always NMS.

        Returns:
            InstanceData: ``bboxes`` (n, 4) and ``bbox_stds`` (n, 4) in pixels,
            ``scores`` (n, ) in [0, 1] and ``labels`` (n, ), all 0.
        """
        cfg = self.test_cfg if cfg is None else cfg
        nms_pre = cfg.get('nms_pre', -1)
        levels = []
        for level, (log_var, bbox_pred, priors) in enumerate(
            zip(cls_score_list, bbox_pred_list, mlvl_priors)
        ):
            log_var = log_var.permute(1, 2, 0).reshape(-1, self.num_stds)
            # NMS wants boxes in the precision of the scores.
            mean = bbox_pred.permute(1, 2, 0).reshape(-1, 4).to(log_var.dtype)
            scores = objectness(log_var, self.neg_std).mean(dim=1)
            if 0 < nms_pre < len(scores):
                scores, top = scores.topk(nms_pre)
                log_var, mean, priors = log_var[top], mean[top], priors[top]
            level_ids = torch.full_like(scores, level, dtype=torch.long)
            levels.append((scores, log_var, mean, priors, level_ids))

        scores, log_var, mean, priors, level_ids = zip(*levels)
        mean, priors = torch.cat(mean), cat_boxes(priors)
        stds = (0.5 * torch.cat(log_var)).exp()
        results = InstanceData(
            bboxes=self.bbox_coder.decode(
                priors, mean, max_shape=img_meta['img_shape']
            ),
            bbox_stds=decode_delta_xywh_stds(
                self.bbox_coder, priors, mean, stds
            ),
            scores=torch.cat(scores),
            level_ids=torch.cat(level_ids),
        )
        return self._bbox_post_process(results, cfg, rescale, True, img_meta)

    def _bbox_post_process(
        self,
        results: InstanceData,
        cfg: ConfigDict,
        rescale: bool = False,
        with_nms: bool = True,
        img_meta: Optional[dict] = None,
    ) -> InstanceData:
        """Rescale and filter as the parent does, stds along with the boxes."""
        if rescale:
            scale = results.bbox_stds.new_tensor(img_meta['scale_factor'])
            results.bbox_stds = results.bbox_stds / scale.repeat(2)
        stds = results.bbox_stds
        results = super()._bbox_post_process(
            results, cfg, rescale, with_nms, img_meta
        )
        if 'bbox_stds' not in results:  # the parent made an empty result anew
            results.bbox_stds = stds.new_zeros((0, 4))
        return results

    def _load_from_state_dict(
        self, state_dict: dict, prefix: str, *args, **kwargs
    ) -> None:
        """Repeat one logit per anchor, as RPNHead has, for each std."""
        for name, own in self.rpn_cls.named_parameters():
            key = f'{prefix}rpn_cls.{name}'
            given = state_dict.get(key)
            if given is None or len(given) * self.num_stds != len(own):
                continue
            if self.num_stds > 1:
                state_dict[key] = given.repeat_interleave(self.num_stds, dim=0)
                print_log(
                    f'{key}: the {len(given)} logits of the checkpoint, one '
                    f'per anchor, are repeated to {len(own)}, one per std',
                    logger='current',
                )
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def _check(name: str, value: object, valid: bool, allowed: str) -> None:
    """Raise a ValueError that names the option, its value and the remedy."""
    if not valid:
        raise ValueError(f'{name} must be {allowed}, but got {value!r}')


def _anchor_rows(maps: List[Tensor], channels: int) -> Tensor:
    """Per-level (N, A * channels, H, W) to (N * R, channels)."""
    rows = [
        level.permute(0, 2, 3, 1).reshape(len(level), -1, channels)
        for level in maps
    ]
    return torch.cat(rows, dim=1).flatten(0, 1)


def _mean_std(log_var: Tensor) -> Tensor:
    """Mean standard deviation, 0 of no anchor, without a gradient."""
    stds = (0.5 * log_var.detach()).exp()
    return stds.sum() / max(stds.numel(), 1)
