"""COCO's measures, and whether detections know how far they are off."""

from typing import Dict, List, Optional, Sequence

import numpy as np
from mmdet.evaluation import CocoMetric
from mmdet.registry import METRICS
from mmengine.logging import MMLogger

from ..functional import (
    ProposalErrors,
    annotated_boxes,
    concatenate,
    proposal_errors,
    std_calibration,
)


@METRICS.register_module()
class StdCocoMetric(CocoMetric):
    """CocoMetric that also checks the ``bbox_stds`` of detections.

    A detection is compared with the object of its class that it overlaps
    most, if by an IoU of 0.5 at least.

    Args:
        ann_file (str): Path of the COCO annotation file.
        score_thr (float): Detections with a smaller score are left out of the
            figures of stds, not of COCO's. Defaults to 0.05.
        **kwargs: Further arguments of ``CocoMetric``.

    Raises:
        ValueError: If ``ann_file`` is missing.
    """

    def __init__(
        self,
        ann_file: Optional[str] = None,
        *,
        score_thr: float = 0.05,
        **kwargs,
    ) -> None:
        if ann_file is None:
            raise ValueError('ann_file must be the path of a COCO file')
        super().__init__(ann_file, **kwargs)
        self.score_thr = score_thr

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Collect predictions, and the errors of those on an object."""
        super().process(data_batch, data_samples)
        # As CocoMetric's labels: positions in this list.
        ids = self._coco_api.get_cat_ids(
            cat_names=self.dataset_meta['classes']
        )
        own = self.results[len(self.results) - len(data_samples) :]
        for data_sample, (_, prediction) in zip(data_samples, own):
            stds = data_sample['pred_instances'].get('bbox_stds')
            if stds is not None:
                prediction['errors'] = self._errors(
                    prediction, stds.cpu().numpy(), ids
                )

    def _errors(
        self, prediction: dict, stds: np.ndarray, ids: List[int]
    ) -> ProposalErrors:
        """Compare an image's detections with objects of categories ``ids``."""
        objects = [
            annotation
            for annotation in self._coco_api.imgToAnns[prediction['img_id']]
            if annotation['category_id'] in ids
        ]
        boxes, ignored = annotated_boxes(objects)
        own = [ids.index(annotation['category_id']) for annotation in objects]
        labels = np.array(own, dtype=int)
        sure = prediction['scores'] >= self.score_thr
        return proposal_errors(
            prediction['bboxes'][sure],
            prediction['scores'][sure],
            stds[sure],
            boxes,
            ignored,
            max_num=len(stds),
            labels=(prediction['labels'][sure], labels),
        )

    def compute_metrics(self, results: List[tuple]) -> Dict[str, float]:
        """COCO's measures, and the figures of :func:`std_calibration`.

        Args:
            results (list[tuple]): A ground truth and a prediction per image,
                as collected by ``process``.

        Returns:
            dict[str, float]: Those of ``CocoMetric``, and of predictions with
            ``bbox_stds`` the figures; none if no detection is on an object.
        """
        metrics = super().compute_metrics(results)
        errors = [p['errors'] for _, p in results if 'errors' in p]
        if errors:
            found = concatenate(errors)
            figures = std_calibration(found.errors, found.stds, found.sizes)
            metrics.update(figures)
            text = ', '.join(
                f'{n} {value:.3f}' for n, value in figures.items()
            )
            MMLogger.get_current_instance().info(f'Detections: {text}')
        return metrics
