"""Average recall of any number of proposals, and their calibration."""

from typing import Dict, List, Optional, Sequence, Set, Tuple, Union

import numpy as np
from mmdet.evaluation import CocoMetric
from mmdet.registry import METRICS
from mmengine.logging import MMLogger

from mmdet_klrpn.datasets.class_names import class_names, quote_names

from ..functional import (
    annotated_boxes,
    concatenate,
    match_coco_proposals,
    objectness_calibration,
    proposal_errors,
    std_calibration,
)


@METRICS.register_module()
class ProposalMetric(CocoMetric):
    """AR@n over IoU 0.5 to 0.95, labelled with the true n.

    ``CocoMetric(metric='proposal')`` has fixed labels: 'AR@100' for the
    smallest number, and 1000 for recall by size, whatever the numbers are.

    It also measures calibration: whether scores are probabilities of an object
    at IoU >= 0.5, and whether ``bbox_stds``, if predicted, are the standard
    deviations of the errors.

    Objects of the data set's classes count, as in ``CocoMetric``; without
    ``dataset_meta``, all objects of the file.

    Args:
        ann_file (str): Path of the COCO annotation file.
        proposal_nums (Sequence[int]): The n of AR@n. Recall by object size
            and calibration are given at the largest. Defaults to
            (10, 30, 100).
        metric (str | Sequence[str]): Unused, but accepted because configs
            inherit it from mmdet's.
        format_only (bool): Must be False: recall needs the ground truth.
        **kwargs: Further arguments of ``CocoMetric``. ``iou_thrs``,
            ``backend_args``, ``collect_device`` and ``prefix``, which is
            'proposal' by default, mean the same here. Arguments of other
            metrics and of result files, such as ``classwise`` and
            ``outfile_prefix``, are unused.

    Raises:
        ValueError: If ``ann_file`` is missing, ``proposal_nums`` is empty or
            holds a number below 1, or ``format_only`` is set.
    """

    default_prefix: Optional[str] = 'proposal'

    def __init__(
        self,
        ann_file: Optional[str] = None,
        proposal_nums: Sequence[int] = (10, 30, 100),
        *,
        metric: Union[str, Sequence[str]] = 'proposal',
        format_only: bool = False,
        **kwargs,
    ) -> None:
        if format_only:
            raise ValueError(
                'format_only must be False for recall, but is set'
            )
        if ann_file is None:
            raise ValueError('ann_file must be the path of a COCO file')
        if not proposal_nums or min(proposal_nums) < 1:
            raise ValueError(
                f'proposal_nums must be numbers >= 1, but got {proposal_nums}'
            )
        super().__init__(
            ann_file, 'proposal', proposal_nums=sorted(proposal_nums), **kwargs
        )
        self.ann_file = ann_file

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Collect predictions, and errors of proposals on an object.

        Errors are computed before ranks gather their results, to keep these
        small.
        """
        super().process(data_batch, data_samples)
        own = self.results[len(self.results) - len(data_samples) :]
        known = {category['id'] for category in self._categories()}
        for data_sample, (_, prediction) in zip(data_samples, own):
            stds = data_sample['pred_instances'].get('bbox_stds')
            prediction['errors'] = proposal_errors(
                prediction['bboxes'],
                prediction['scores'],
                None if stds is None else stds.cpu().numpy(),
                *self._objects(prediction['img_id'], known),
                max_num=self.proposal_nums[-1],
            )

    def _objects(
        self, img_id: int, known: Set[int]
    ) -> Tuple[np.ndarray, np.ndarray]:
        """Boxes (k, 4) of known classes, and which to ignore (k, )."""
        annotations = [
            annotation
            for annotation in self._coco_api.imgToAnns.get(img_id, [])
            if annotation['category_id'] in known
        ]
        return annotated_boxes(annotations)

    def _categories(self) -> List[dict]:
        """Categories of the data set's classes, or all if they are unknown."""
        categories = self._coco_api.dataset['categories']
        classes = class_names(self.dataset_meta)
        if classes:
            categories = [c for c in categories if c['name'] in classes]
        if not categories:
            names = [c['name'] for c in self._coco_api.dataset['categories']]
            raise ValueError(
                f'ann_file must have a category of the data set, but '
                f'{self.ann_file} has {quote_names(names) or "none"}, and '
                f'metainfo.classes are {quote_names(classes) or "none"}'
            )
        return categories

    def compute_metrics(self, results: List[tuple]) -> Dict[str, float]:
        """Compute recalls and calibration over all images.

        Args:
            results (list[tuple]): A ground truth and a prediction per image,
                as collected by ``process``.

        Returns:
            dict[str, float]: ``AR@n`` for each n, and ``AR_s@n``, ``AR_m@n``,
            ``AR_l@n`` for the largest, each in [0, 1], or -1 without objects;
            the figures of :func:`objectness_calibration`; and with
            ``bbox_stds``, those of :func:`std_calibration`. Figures without a
            value, for example if no proposal is on an object, are left out.
        """
        predictions = [prediction for _, prediction in results]
        coco_eval = match_coco_proposals(
            dict(self._coco_api.dataset, categories=self._categories()),
            predictions,
            self.proposal_nums,
            self.iou_thrs,
        )
        coco_eval.accumulate()

        # (IoU thresholds, 1 category, areas, proposal numbers)
        recall = coco_eval.eval['recall'][:, 0]
        areas = coco_eval.params.areaRngLbl
        metrics = {
            f'AR@{n}': _mean_of_valid(recall[:, areas.index('all'), i])
            for i, n in enumerate(self.proposal_nums)
        }
        for area in ('small', 'medium', 'large'):
            metrics[f'AR_{area[0]}@{self.proposal_nums[-1]}'] = _mean_of_valid(
                recall[:, areas.index(area), -1]
            )
        errors = concatenate([pred['errors'] for pred in predictions])
        # Scores of another head, which may not be probabilities.
        if ((errors.scores >= 0) & (errors.scores <= 1)).all():
            metrics.update(objectness_calibration(errors.scores, errors.hits))
        metrics.update(
            std_calibration(errors.errors, errors.stds, errors.sizes)
        )
        text = ', '.join(
            f'{name} {value:.3f}' for name, value in metrics.items()
        )
        MMLogger.get_current_instance().info(f'Proposals: {text}')
        return metrics


def _mean_of_valid(recall: np.ndarray) -> float:
    """Mean over IoU thresholds; pycocotools writes -1 for no object."""
    valid = recall[recall > -1]
    return float(valid.mean()) if valid.size else -1.0
