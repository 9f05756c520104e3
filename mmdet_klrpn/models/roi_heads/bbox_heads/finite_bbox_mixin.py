"""Box heads that hand out no box that is not finite."""

from typing import Optional

from mmengine.structures import InstanceData
from torch import Tensor


class FiniteBBoxMixin:
    """Drops RoIs whose offsets are not finite, to be inherited first.

    :class:`BBoxHead` drops a score that is NaN, but a box that is NaN it hands
    out, and its NMS then suppresses none of the others.
    """

    def _predict_by_feat_single(
        self,
        roi: Tensor,
        cls_score: Tensor,
        bbox_pred: Optional[Tensor],
        **kwargs,
    ) -> InstanceData:
        """Detections of an image, as in BBoxHead.

        Args:
            roi (Tensor): (n, 5).
            cls_score (Tensor): Logits, (n, num_classes + 1).
            bbox_pred (Tensor, optional): Encoded offsets, (n, 4), or (n,
                num_classes * 4).
            **kwargs: Further arguments of BBoxHead's.

        Returns:
            InstanceData: ``bboxes``, ``scores`` and ``labels``.
        """
        if bbox_pred is not None:
            # 0, or NaN where an offset is NaN or infinite.
            doubt = (bbox_pred - bbox_pred).sum(dim=1, keepdim=True)
            cls_score = cls_score + doubt
        return super()._predict_by_feat_single(
            roi=roi, cls_score=cls_score, bbox_pred=bbox_pred, **kwargs
        )
