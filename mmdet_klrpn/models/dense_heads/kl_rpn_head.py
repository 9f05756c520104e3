"""Region proposal head whose objectness is its predicted uncertainty.

Vocabulary and shapes, for the whole file:
    N     images in the batch
    A     base anchors per location
    S     standard deviations per anchor, 1 or 4 (``num_stds``)
    H, W  size of one level's feature map
    offset, encoded offset: dx, dy, dw, dh of the bbox coder
"""

import math
from typing import Dict, Tuple, Union

import torch
from mmdet.models.dense_heads import RPNHead
from mmdet.models.task_modules.assigners import MaxIoUAssigner
from mmdet.models.task_modules.coders import DeltaXYWHBBoxCoder
from mmdet.registry import MODELS, TASK_UTILS
from mmdet.utils import (
    ConfigType,
    OptConfigType,
    reduce_mean,
)
from mmengine.dist import get_world_size
from mmengine.logging import print_log
from torch import Tensor
from torch.nn.functional import relu

from mmdet_klrpn.models.checks import check
from mmdet_klrpn.models.task_modules import (
    AnchorGrid,
    decode_delta_xywh_stds,
    sample_stratified,
)

from .kl_rpn_weights import KLRPNWeightsMixin
from .log_variance import log_variance, logit_objectness, objectness
from .second_look_mixin import SecondLookMixin
from .sparse_proposals import SparseProposalsMixin
from .sparse_sampling import Samples, SparseSamplingMixin


@MODELS.register_module()
class KLRPNHead(
    KLRPNWeightsMixin,
    SecondLookMixin,
    SparseSamplingMixin,
    SparseProposalsMixin,
    RPNHead,
):
    """RPN head whose score is trained by the KL divergence of box offsets.

    Seo et al., "KL-Divergence-Based Region Proposal Network for Object
    Detection", ICIP 2020. An anchor predicts a Gaussian over its encoded
    offsets. A positive's target is a Dirac (or narrow Gaussian) at the offsets
    of its ground-truth box, a negative's a wide Gaussian around its own mean.
    The predicted standard deviation replaces the classifier's score.

    In the paper the divergence is the only loss. Its gradient with respect to
    a mean is the error over the variance, so uncertain anchors, first those of
    small objects, hardly move their boxes. Here ``loss_mean`` trains the
    means, and the divergence only the deviations: the remedy of Seitzer et
    al., "On the Pitfalls of Heteroscedastic Uncertainty Estimation", ICLR
    2022, for beta = 1, with a robust error. ``loss_mean=None`` is the paper's
    single loss.

    Because a deviation says how good a box is, poor anchors can be positives
    too: each object's ``pos_topk`` best anchors are, however small the object
    is.

    A drop-in for :class:`RPNHead`: it takes every argument of that head;
    ``loss_cls`` and ``loss_bbox`` are unused. Parameters keep their names.
    ``rpn_cls`` predicts logits that :mod:`.log_variance` turns into
    log-variances, so a trained RPNHead's checkpoint ranks proposals as before;
    for four stds its logit is repeated, which is logged.

    Options are choices that the sources leave open; the defaults are ours.

    Args:
        in_channels (int): Channels of the features.
        num_classes (int): Must be 1.
        num_stds (int): Standard deviations per anchor: 1 shared by the four
            offsets, or 4. Defaults to 1.
        pos_std (float): Std of a positive's target, in encoded offsets. 0 is
            the Dirac. Defaults to 0.2.
        neg_std (float): Std of a negative's target, in encoded offsets. The
            larger, the less localisation counts in the objectness. Defaults to
            1.
        min_std (float): Floor of the predicted std, in encoded offsets,
            without which a Dirac has no minimum. Defaults to 0.03.
        neg_divergence (str): 'forward', KL(target || prediction), or
            'reverse', KL(prediction || target), for negatives. The forward
            cost grows exponentially with the confidence in an unlabelled
            object, the reverse cost linearly. Positives always use the forward
            one, the only one finite for a Dirac. Defaults to 'forward'.
        loss_kl (dict): Config of the divergence. Defaults to ``KLDivLoss``.
        loss_mean (dict, optional): Config of the loss of positives' means, in
            encoded offsets. None trains them by the divergence. Defaults to
            ``SmoothL1Loss``, linear beyond 1/9.
        pos_topk (int): Number of best anchors of each object that are
            positives: a ``MaxIoUAssigner`` in ``train_cfg`` is built as a
            :class:`TopKMaxIoUAssigner`. 0 keeps it; other assigners are always
            kept. Defaults to 9.
        std_scale (float): Factor on the ``bbox_stds`` of proposals only, to
            match their errors: most of the predicted variance is doubt whether
            there is an object. Defaults to 0.35.
        **kwargs: ``second_look``, see :class:`SecondLookMixin`, and arguments
            of :class:`RPNHead`.

    Raises:
        ValueError: If an option is out of its range, ``reg_decoded_bbox`` is
            set, or the bbox coder is not a DeltaXYWHBBoxCoder.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int = 1,
        *,
        num_stds: int = 1,
        pos_std: float = 0.2,
        neg_std: float = 1.0,
        min_std: float = 0.03,
        neg_divergence: str = 'forward',
        loss_kl: ConfigType = dict(type='KLDivLoss', loss_weight=1.0),
        loss_mean: OptConfigType = dict(
            type='SmoothL1Loss', beta=1.0 / 9.0, loss_weight=10.0
        ),
        pos_topk: int = 9,
        std_scale: float = 0.35,
        **kwargs,
    ) -> None:
        check('num_classes', num_classes, num_classes == 1, '1')
        check('num_stds', num_stds, num_stds in (1, 4), '1 or 4')
        in_range = 0 < neg_std < math.inf
        check('neg_std', neg_std, in_range, 'finite and > 0')
        in_range = 0 <= pos_std < neg_std
        check('pos_std', pos_std, in_range, f'in [0, neg_std={neg_std})')
        in_range = 0 < min_std < neg_std
        check('min_std', min_std, in_range, f'in (0, neg_std={neg_std})')
        names = ('forward', 'reverse')
        known = neg_divergence in names
        check('neg_divergence', neg_divergence, known, f'one of {names}')
        in_range = isinstance(pos_topk, int) and pos_topk >= 0
        check('pos_topk', pos_topk, in_range, 'an integer >= 0')
        in_range = 0 < std_scale < math.inf
        check('std_scale', std_scale, in_range, '> 0 and finite')

        # AnchorHead.__init__ calls _init_layers, which reads this.
        self.num_stds = num_stds
        super().__init__(in_channels, num_classes, **kwargs)
        decoded = self.reg_decoded_bbox
        remedy = 'False: the divergence is one of encoded offsets'
        check('reg_decoded_bbox', decoded, not decoded, remedy)
        known = isinstance(self.bbox_coder, DeltaXYWHBBoxCoder)
        remedy = 'a DeltaXYWHBBoxCoder: stds go through its decoder'
        check('bbox_coder', type(self.bbox_coder).__name__, known, remedy)
        self.pos_std = pos_std
        self.neg_std = neg_std
        self.neg_divergence = neg_divergence
        self.min_std = min_std
        self.divergence_advice = f'raise rpn_head.min_std={min_std}'
        self.std_scale = std_scale
        self.loss_kl = MODELS.build(loss_kl)
        self.loss_mean = loss_mean and MODELS.build(loss_mean)
        self.register_std_range(min_std, neg_std)
        if pos_topk and self.train_cfg:
            self._give_objects_their_best_anchors(pos_topk)

    def _give_objects_their_best_anchors(self, topk: int) -> None:
        """Replace the config's assigner, an ordinary RPN's."""
        name = type(self.assigner).__name__
        if type(self.assigner) is MaxIoUAssigner:
            config = dict(self.train_cfg['assigner'], topk=topk)
            config['type'] = 'TopKMaxIoUAssigner'
            self.assigner = TASK_UTILS.build(config)
            text = (
                f'replaces the {name} of train_cfg by a TopKMaxIoUAssigner '
                f"with topk={topk}, so that each object's best anchors are "
                'positives; rpn_head.pos_topk=0 keeps the former'
            )
        else:
            text = f'keeps the {name} of train_cfg: pos_topk is not used'
        print_log(f'{type(self).__name__} {text}', logger='current')

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

            - logits (Tensor): (N, A * S, H, W), in float32 at least, for
              :meth:`log_variances`.
            - bbox_pred (Tensor): Means of encoded offsets, (N, A * 4, H, W).
        """
        x = relu(self.rpn_conv(x))
        bbox_pred = self.rpn_reg(x)
        dtype = self.rpn_cls.weight.dtype
        if x.dtype == dtype:
            logits = self.rpn_cls(x)
        else:
            # In autocast's half precision hundreds of scores would tie.
            with torch.autocast(x.device.type, enabled=False):
                logits = self.rpn_cls(x.to(dtype))
        # By hand, as torch.compile cannot trace torch.promote_types.
        if dtype != torch.float64:
            dtype = torch.float32
        return logits.to(dtype), bbox_pred

    def log_variances(self, logits: Tensor) -> Tensor:
        """Log-variances of encoded offsets, for logits of any shape."""
        return log_variance(logits, self.min_std, self.neg_std)

    def _losses(
        self, logits: Tensor, mean: Tensor, samples: Samples
    ) -> Dict[str, Tensor]:
        """Mean losses of the samples.

        Args:
            logits (Tensor): (n, S).
            mean (Tensor): (n, 4), in encoded offsets.
            samples (Samples): The n samples.

        Returns:
            dict[str, Tensor]: Scalars: the divergences ``loss_rpn_pos`` and
            ``loss_rpn_neg``, ``loss_rpn_mean`` if there is a ``loss_mean``,
            and, logged but not summed into the total, the positives per image
            ``rpn_num_pos`` and the mean std, in encoded offsets, of positives
            and negatives, ``rpn_pos_std`` and ``rpn_neg_std`` (0 of none).
        """
        num_pos = len(samples.targets)
        log_var = self.log_variances(logits)
        log_vars = log_var.tensor_split([num_pos])
        avg_factor = samples.avg_factor
        if get_world_size() > 1:
            # Mean over ranks, as DDP averages gradients.
            avg_factor = reduce_mean(mean.new_tensor(float(avg_factor)))
        losses = self._loss_pos(
            mean[:num_pos], log_vars[0], samples.targets, avg_factor
        )
        losses['loss_rpn_neg'] = self._loss_neg(
            mean[num_pos:], log_vars[1], avg_factor
        )
        stds = (0.5 * log_var.detach()).exp().tensor_split([num_pos])
        return dict(
            losses,
            rpn_num_pos=log_var.new_full((), num_pos / samples.num_images),
            rpn_pos_std=_mean(stds[0]),
            rpn_neg_std=_mean(stds[1]),
        )

    def _loss_pos(
        self,
        mean: Tensor,
        log_var: Tensor,
        target: Tensor,
        avg_factor: Union[int, Tensor],
    ) -> Dict[str, Tensor]:
        """Losses of positives, mean (n, 4) and log_var (n, S)."""
        losses, weight = {}, self._positive_weight()
        if weight is not None:
            weight = torch.full_like(target, weight)
        if self.loss_mean is not None:
            losses['loss_rpn_mean'] = self.loss_mean(
                mean, target, weight, avg_factor=avg_factor
            )
            mean = mean.detach()
        losses['loss_rpn_pos'] = self.loss_kl(
            mean,
            log_var,
            target,
            self.pos_std,
            weight=weight,
            avg_factor=avg_factor,
            reduction_override='mean',
        )
        return losses

    def _loss_neg(
        self,
        mean: Tensor,
        log_var: Tensor,
        avg_factor: Union[int, Tensor],
    ) -> Tensor:
        """Divergence of negatives, mean (n, 4) and log_var (n, S)."""
        # A negative has no box and must not move its mean. But a mean that is
        # not finite must not go unnoticed.
        mean = mean.detach()
        log_var = log_var.expand(-1, 4)
        if self.neg_divergence == 'forward':
            prediction, target = (mean, log_var), (mean, self.neg_std)
        else:
            neg_log_var = torch.full_like(log_var, 2 * math.log(self.neg_std))
            prediction = (mean, neg_log_var)
            target = (mean, (0.5 * log_var).exp())
        factor = dict(avg_factor=avg_factor, reduction_override='mean')
        return self.loss_kl(*prediction, *target, **factor)

    def _draw(
        self, grid: AnchorGrid, gt_inds: Tensor
    ) -> Tuple[Tensor, Tensor, int]:
        """Sample anchors without shuffling on the host."""
        return sample_stratified(self.sampler, gt_inds)

    def _ranking(self, logits: Tensor) -> Tensor:
        """Logits, which rank as scores do, or the mean score for 4 stds."""
        if self.num_stds == 1:
            return logits
        scores = logit_objectness(logits, self.min_std, self.neg_std)
        return scores.unflatten(1, (-1, self.num_stds)).mean(dim=2)

    def _describe(
        self, priors: Tensor, deltas: Tensor, logits: Tensor
    ) -> Dict[str, Tensor]:
        """Compute ``scores`` (n, ) and ``bbox_stds`` (n, 4).

        These are the std of x1, y1, x2, y2 in input pixels.
        """
        log_var = self.log_variances(logits)
        stds = (0.5 * log_var).exp()
        stds = decode_delta_xywh_stds(self.bbox_coder, priors, deltas, stds)
        return dict(
            scores=objectness(log_var, self.neg_std).mean(dim=1),
            bbox_stds=stds * self.std_scale,
        )


def _mean(values: Tensor) -> Tensor:
    """Mean, 0 if empty."""
    return values.mean() if len(values) else values.sum()
