"""Detections whose scores know how sure their proposals were."""

from typing import List, Tuple

import torch
from mmdet.models.roi_heads import StandardRoIHead
from mmdet.registry import MODELS
from mmdet.structures.bbox import get_box_tensor
from mmdet.utils import ConfigType, InstanceList
from torch import Tensor


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


class ObjectnessMixin:
    """Multiplies the scores of detections by those of their proposals.

    To be inherited before :class:`StandardRoIHead`, by a class that hands the
    results of its ``_bbox_forward`` to :meth:`weigh`. In tests only: nothing
    is trained otherwise, so that it can be set for a trained detector.

    Args:
        objectness_power (float): Exponent of the proposals' scores. 0, the
            default, leaves the detections as they are.

    Raises:
        ValueError: If the power is negative, or the bbox head scores classes
            by anything but a softmax.
    """

    def __init__(self, *args, objectness_power: float = 0.0, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        if not objectness_power >= 0:
            raise ValueError(
                f'objectness_power must be >= 0, but got {objectness_power!r}'
            )
        if objectness_power and self.bbox_head.custom_cls_channels:
            name = type(self.bbox_head.loss_cls).__name__
            raise ValueError(
                f'objectness_power must be 0 with {name}, whose scores are '
                f'no softmax, but got {objectness_power!r}'
            )
        self.objectness_power = objectness_power
        self._objectness = None

    def predict_bbox(
        self,
        x: Tuple[Tensor],
        batch_img_metas: List[dict],
        rpn_results_list: InstanceList,
        rcnn_test_cfg: ConfigType,
        rescale: bool = False,
    ) -> InstanceList:
        """See the parent. Proposals without scores count as sure."""
        if self.objectness_power:
            scores = [
                proposals.get('scores', boxes.new_ones(len(boxes)))
                for proposals in rpn_results_list
                for boxes in [get_box_tensor(proposals.bboxes)]
            ]
            self._objectness = torch.cat(scores)
        try:
            return super().predict_bbox(
                x, batch_img_metas, rpn_results_list, rcnn_test_cfg, rescale
            )
        finally:
            self._objectness = None

    def weigh(self, results: dict) -> dict:
        """What ``_bbox_forward`` gives, by objectness while it predicts."""
        if self._objectness is not None:
            results['cls_score'] = weigh_by_objectness(
                results['cls_score'], self._objectness, self.objectness_power
            )
        return results


@MODELS.register_module()
class ObjectnessRoIHead(ObjectnessMixin, StandardRoIHead):
    """StandardRoIHead whose detections are scored by both stages.

    It takes the arguments of :class:`StandardRoIHead`.

    Args:
        objectness_power (float): See :class:`ObjectnessMixin`. Defaults to 1.
    """

    def __init__(self, *args, objectness_power: float = 1.0, **kwargs) -> None:
        super().__init__(*args, objectness_power=objectness_power, **kwargs)

    def _bbox_forward(self, x: Tuple[Tensor], rois: Tensor) -> dict:
        """See the parent."""
        return self.weigh(super()._bbox_forward(x, rois))
