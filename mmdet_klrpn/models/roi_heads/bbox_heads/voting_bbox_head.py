"""Box heads that hand out no box that is not finite, and let boxes vote."""

from typing import Optional, Tuple

from mmdet.models.roi_heads.bbox_heads import Shared2FCBBoxHead
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor

from .detections import suppress_detections


class VotingBBoxMixin:
    """Drops what is not finite, and votes, to be inherited before a BBoxHead.

    :class:`BBoxHead` drops a score that is NaN, but a box that is NaN it hands
    out, and its NMS then suppresses none of the others.

    With ``test_cfg.rcnn.box_voting``, a dict of :func:`vote`'s arguments that
    may be empty, each box that NMS keeps becomes the weighted mean of those
    around it. Nothing is trained for it.
    """

    def _split(self, bbox_pred: Tensor) -> Tuple[Tensor, Optional[Tensor]]:
        """Encoded offsets (n, k * 4), and what predicts their stds."""
        return bbox_pred, None

    def _predict_by_feat_single(
        self,
        roi: Tensor,
        cls_score: Tensor,
        bbox_pred: Optional[Tensor],
        img_meta: dict,
        rescale: bool = False,
        rcnn_test_cfg: Optional[ConfigDict] = None,
    ) -> InstanceData:
        """Detections of an image, as in BBoxHead.

        Args:
            roi (Tensor): (n, 5).
            cls_score (Tensor): Logits, (n, num_classes + 1).
            bbox_pred (Tensor, optional): What ``forward`` gives of them.
            img_meta (dict): Meta information of the image.
            rescale (bool): Whether to return boxes in pixels of the original
                image. Defaults to False.
            rcnn_test_cfg (ConfigDict, optional): ``test_cfg.rcnn``. Without
                it nothing is suppressed.

        Returns:
            InstanceData: ``bboxes`` (m, 4), ``scores`` and ``labels``, or if
            nothing is suppressed (n, k * 4) and (n, num_classes + 1).
        """
        offsets, stds, voting = bbox_pred, None, None
        if bbox_pred is not None:
            # 0, or NaN where an offset is NaN or infinite.
            doubt = (bbox_pred - bbox_pred).sum(dim=1, keepdim=True)
            cls_score = cls_score + doubt
            offsets, logits = self._split(bbox_pred)
            stds = self._pixel_stds(roi[:, 1:], offsets, logits, img_meta)
            voting = (rcnn_test_cfg or {}).get('box_voting')
        is_parents = stds is None and voting is None
        results = super()._predict_by_feat_single(
            roi=roi,
            cls_score=cls_score,
            bbox_pred=offsets,
            img_meta=img_meta,
            rescale=rescale,
            rcnn_test_cfg=rcnn_test_cfg if is_parents else None,
        )
        if is_parents:
            return results
        if rcnn_test_cfg is not None:
            return suppress_detections(
                results.bboxes, results.scores, stds, rcnn_test_cfg
            )
        results.bbox_stds = stds
        return results

    def _pixel_stds(
        self,
        roi: Tensor,
        offsets: Tensor,
        logits: Optional[Tensor],
        img_meta: dict,
    ) -> Optional[Tensor]:
        """Stds (n, k * 4) of edges, of what :meth:`_split` gives, if any."""
        return None


@MODELS.register_module()
class VotingBBoxHead(VotingBBoxMixin, Shared2FCBBoxHead):
    """Shared2FCBBoxHead whose boxes can vote, see :class:`VotingBBoxMixin`.

    It takes the place of Shared2FCBBoxHead in the config of a trained
    detector, with the same arguments and checkpoints.
    """
