"""Test-time augmentation that keeps the stds of detections."""

from typing import List

import torch
from mmcv.ops import batched_nms
from mmdet.models import DetTTAModel
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample


@MODELS.register_module()
class StdDetTTAModel(DetTTAModel):
    """DetTTAModel whose detections keep the ``bbox_stds`` of their own view.

    Both edges of an axis have the same std, so that a flip changes none.
    """

    def _merge_single_sample(
        self, data_samples: List[DetDataSample]
    ) -> DetDataSample:
        """Merge the views of one image.

        Args:
            data_samples (list[DetDataSample]): Predictions of each view, in
                pixels of the original image.

        Returns:
            DetDataSample: As of DetTTAModel, with ``bbox_stds`` (n, 4) where
            the views have them.
        """
        views = [sample.pred_instances for sample in data_samples]
        metas = [sample.metainfo for sample in data_samples]
        merged = super()._merge_single_sample(data_samples)
        stds = torch.cat([v.get('bbox_stds', v.bboxes[:0]) for v in views])
        if len(stds):
            # The parent does not tell which boxes it keeps.
            boxes, scores = self.merge_aug_bboxes(
                [v.bboxes for v in views], [v.scores for v in views], metas
            )
            labels = torch.cat([v.labels for v in views])
            _, kept = batched_nms(boxes, scores, labels, self.tta_cfg.nms)
            merged.pred_instances.bbox_stds = stds[
                kept[: self.tta_cfg.max_per_img]
            ]
        return merged
