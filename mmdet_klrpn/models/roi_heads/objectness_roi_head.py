"""Detections whose scores know how sure their proposals were."""

from typing import Iterable, List, Tuple

import torch
from mmdet.models.roi_heads import StandardRoIHead
from mmdet.models.task_modules.samplers import OHEMSampler, SamplingResult
from mmdet.registry import MODELS
from mmdet.structures import SampleList
from mmdet.structures.bbox import bbox_overlaps, get_box_tensor
from mmdet.utils import ConfigType, InstanceList
from mmengine.structures import InstanceData
from torch import Tensor

from .objectness_prior import ObjectnessPrior


def weigh_by_objectness(
    cls_score: Tensor, objectness: Tensor, power: float
) -> Tensor:
    r"""Logits of the classes' probabilities times the objectness.

    With the probabilities :math:`p_c` of the C classes that a softmax makes
    of the logits, and the objectness s of a proposal, a class gets
    :math:`p_c s^\gamma` and the background the rest. For a power
    :math:`\gamma` of 1 that is P(class | object) P(object), as of a
    probabilistic two-stage detector (Zhou et al., "Probabilistic two-stage
    detection", arXiv:2103.07461).

    Args:
        cls_score (Tensor): (n, C + 1) logits, the last of the background.
        objectness (Tensor): (n, ) in [0, 1].
        power (float): Of the objectness, >= 0. 0 changes no probability.

    Returns:
        Tensor: (n, C + 1) logits, in float32.
    """
    cls_score = cls_score.float()
    weight = objectness.to(cls_score)[:, None].clamp(0, 1) ** power
    probabilities = cls_score.softmax(dim=1)[:, :-1] * weight
    background = 1 - probabilities.sum(dim=1, keepdim=True)
    # No logarithm of 0: what it would be is far below any score threshold.
    tiny = torch.finfo(cls_score.dtype).tiny
    return torch.cat([probabilities, background], dim=1).clamp(min=tiny).log()


class ScoredFeatures(tuple):
    """Features, or maps, and the scores of the RoIs that read them.

    mmdet's RoI heads hand features on to ``_bbox_forward`` as they are, so
    scores that travel with them need no state of the head. Slices are plain
    tuples.

    Attributes:
        scores (list[Tensor]): (n_i, ) in [0, 1] for each image, of its RoIs
            in their order; in ``loss``, of all that its sampler draws from.
        power (float): Exponent of the scores, see :class:`ObjectnessMixin`.
    """

    def __new__(
        cls,
        features: Iterable[Tensor],
        scores: List[Tensor],
        power: float = 0.0,
    ) -> 'ScoredFeatures':
        """Make the tuple, whose items are fixed here."""
        self = super().__new__(cls, features)
        self.scores, self.power = scores, power
        return self


class ObjectnessMixin:
    """Scores detections by their proposals' scores too.

    To be inherited before :class:`StandardRoIHead`, by a class that hands the
    results of its ``_bbox_forward`` to :meth:`weigh`. Proposals without scores
    count as sure, with a score of 1: the power changes nothing of them, and
    the prior adds what it has learned of 1. The head keeps nothing from one
    call to the next.

    Args:
        objectness_power (float): Exponent of the proposals' scores, by which
            those of the detections are multiplied. In tests only: nothing is
            trained otherwise, so that it can be set for a trained detector.
            0, the default, leaves them as they are.
        objectness_prior (bool): Whether the classifier learns what the
            proposals' scores tell it, by an :class:`ObjectnessPrior`. Defaults
            to False.

    Raises:
        ValueError: If the power is negative, if the bbox head scores classes
            by anything but a softmax, or if a prior is to learn of the RoIs
            that OHEM mines, whose scores are not known.
    """

    def __init__(
        self,
        *args,
        objectness_power: float = 0.0,
        objectness_prior: bool = False,
        **kwargs,
    ) -> None:
        super().__init__(*args, **kwargs)
        if not objectness_power >= 0:
            raise ValueError(
                f'objectness_power must be >= 0, but got {objectness_power!r}'
            )
        for option, value, off in (
            ('objectness_power', objectness_power, 0),
            ('objectness_prior', objectness_prior, False),
        ):
            if value and self.bbox_head.custom_cls_channels:
                name = type(self.bbox_head.loss_cls).__name__
                raise ValueError(
                    f'{option} must be {off} with {name}, whose scores are '
                    f'no softmax, but got {value!r}'
                )
        self.objectness_power = objectness_power
        self.objectness_prior = None
        if objectness_prior:
            sampler = self.bbox_sampler
            if any(
                isinstance(getattr(sampler, part, None), OHEMSampler)
                for part in ('pos_sampler', 'neg_sampler')
            ):
                raise ValueError(
                    'objectness_prior must be False with OHEMSampler, which '
                    'scores RoIs without telling which proposals they are, '
                    'but got True'
                )
            self.objectness_prior = ObjectnessPrior(self.bbox_head.num_classes)

    def forward(
        self,
        x: Tuple[Tensor],
        rpn_results_list: InstanceList,
        batch_data_samples: SampleList = None,
    ) -> tuple:
        """Give the outputs that :meth:`predict_bbox` decodes."""
        x = self._with_scores(x, rpn_results_list)
        return super().forward(x, rpn_results_list, batch_data_samples)

    def loss(
        self,
        x: Tuple[Tensor],
        rpn_results_list: InstanceList,
        batch_data_samples: SampleList,
    ) -> dict:
        """Give the sampled proposals' scores to the prior, if there is one."""
        if self.objectness_prior is not None:
            scores = [
                self._scores_to_sample(proposals, sample.gt_instances)
                for proposals, sample in zip(
                    rpn_results_list, batch_data_samples
                )
            ]
            x = ScoredFeatures(x, scores)
        return super().loss(x, rpn_results_list, batch_data_samples)

    def _scores_to_sample(
        self, proposals: InstanceData, objects: InstanceData
    ) -> Tensor:
        """Scores of all that the sampler draws from, objects first.

        An object that the sampler adds to the proposals has no score. It gets
        that of the proposal that overlaps it most, which is what the first
        stage knows of it.
        """
        scores = _scores(proposals)
        added = getattr(self.bbox_sampler, 'add_gt_as_proposals', False)
        if not added or not len(objects):
            return scores
        if not len(scores):
            return scores.new_ones(len(objects))
        ious = bbox_overlaps(
            get_box_tensor(objects.bboxes), get_box_tensor(proposals.bboxes)
        )
        return torch.cat([scores[ious.argmax(dim=1)], scores])

    def bbox_loss(
        self, x: Tuple[Tensor], sampling_results: List[SamplingResult]
    ) -> dict:
        """Keep the scores of what was sampled."""
        if isinstance(x, ScoredFeatures):
            scores = [
                own[torch.cat([result.pos_inds, result.neg_inds])]
                for own, result in zip(x.scores, sampling_results)
            ]
            x = ScoredFeatures(x, scores)
        return super().bbox_loss(x, sampling_results)

    def predict_bbox(
        self,
        x: Tuple[Tensor],
        batch_img_metas: List[dict],
        rpn_results_list: InstanceList,
        rcnn_test_cfg: ConfigType,
        rescale: bool = False,
    ) -> InstanceList:
        """Predict with the proposals' scores."""
        x = self._with_scores(x, rpn_results_list)
        return super().predict_bbox(
            x, batch_img_metas, rpn_results_list, rcnn_test_cfg, rescale
        )

    def _with_scores(
        self, x: Tuple[Tensor], rpn_results_list: InstanceList
    ) -> ScoredFeatures:
        """Features with what a test takes of the proposals' scores."""
        scores = [_scores(proposals) for proposals in rpn_results_list]
        return ScoredFeatures(x, scores, self.objectness_power)

    def weigh(self, results: dict, x: Tuple[Tensor]) -> dict:
        """Weigh the logits of classes by the scores of the RoIs.

        Args:
            results (dict[str, Tensor]): Of ``_bbox_forward``, for n RoIs.
            x (ScoredFeatures | tuple[Tensor]): Features that it was given. If
                they carry no scores, since a detector such as SoftTeacher
                calls it directly, all RoIs count as sure.

        Returns:
            dict[str, Tensor]: The same, with other ``cls_score``.
        """
        logits = results['cls_score']
        objectness, power = logits.new_ones(len(logits)), 0.0
        if isinstance(x, ScoredFeatures):
            objectness, power = torch.cat(x.scores), x.power
        if self.objectness_prior is not None:
            logits = self.objectness_prior(logits, objectness)
        if power:
            logits = weigh_by_objectness(logits, objectness, power)
        return dict(results, cls_score=logits)


def _scores(proposals: InstanceData) -> Tensor:
    """Scores of an image's proposals, 1 where they have none."""
    if 'scores' in proposals:
        return proposals.scores.detach()
    boxes = get_box_tensor(proposals.bboxes)
    return boxes.new_ones(len(boxes))


@MODELS.register_module()
class ObjectnessRoIHead(ObjectnessMixin, StandardRoIHead):
    """StandardRoIHead whose detections are scored by both stages.

    It takes the arguments of :class:`StandardRoIHead`, and both of
    :class:`ObjectnessMixin`.

    Args:
        objectness_power (float): See :class:`ObjectnessMixin`. Defaults to 1.
    """

    def __init__(self, *args, objectness_power: float = 1.0, **kwargs) -> None:
        super().__init__(*args, objectness_power=objectness_power, **kwargs)

    def _bbox_forward(self, x: Tuple[Tensor], rois: Tensor) -> dict:
        """Weigh the parent's scores of classes."""
        return self.weigh(super()._bbox_forward(x, rois), x)
