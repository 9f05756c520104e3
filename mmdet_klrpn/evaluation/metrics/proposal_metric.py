"""Average recall of proposals at any number of them, and calibration."""

from typing import Dict, List, Optional, Sequence, Tuple

import numpy as np
from mmdet.evaluation import CocoMetric
from mmdet.registry import METRICS
from mmengine.logging import MMLogger
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from ..functional import (
    concatenate,
    objectness_calibration,
    proposal_errors,
    std_calibration,
)


@METRICS.register_module()
class ProposalMetric(CocoMetric):
    """AR@n over IoU 0.5 to 0.95, with labels that say the true n.

    ``CocoMetric(metric='proposal')`` prints its columns under fixed names,
    'AR@100' for the smallest number whatever that is, and sizes as of 1000.

    It also says whether the proposals know how sure they are: whether scores
    are probabilities of an object at IoU >= 0.5, and whether ``bbox_stds``,
    where predictions carry them, are the standard deviations of the errors.

    Args:
        ann_file (str): Path of the COCO annotation file.
        proposal_nums (Sequence[int]): The n of AR@n. Recall by object size
            and calibration are given at the largest. Defaults to
            (10, 30, 100).
        metric (str): Accepted and unused, since a config that inherits one of
            mmdet's has it.
        format_only (bool): Must be False: recall needs the ground truth.
        iou_thrs (Sequence[float], optional): IoU thresholds to average over.
            Defaults to 0.5 to 0.95 in steps of 0.05.
        backend_args (dict, optional): File backend of ``ann_file``.
        collect_device (str): Where ranks gather results, 'cpu' or 'gpu'.
        prefix (str, optional): Prefix of the names. Defaults to 'proposal'.

    Raises:
        ValueError: If ``ann_file`` is missing, ``proposal_nums`` is empty or
            holds a number below 1, or ``format_only`` is set.
    """

    default_prefix: Optional[str] = 'proposal'

    def __init__(
        self,
        ann_file: Optional[str] = None,
        proposal_nums: Sequence[int] = (10, 30, 100),
        metric: str = 'proposal',
        format_only: bool = False,
        iou_thrs: Optional[Sequence[float]] = None,
        backend_args: Optional[dict] = None,
        collect_device: str = 'cpu',
        prefix: Optional[str] = None,
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
            ann_file=ann_file,
            metric='proposal',
            proposal_nums=sorted(proposal_nums),
            iou_thrs=iou_thrs,
            backend_args=backend_args,
            collect_device=collect_device,
            prefix=prefix,
        )

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Collect predictions, and the errors of those on an object.

        Errors, of a few proposals an image, are found before ranks gather
        their results, which stay small.

        Args:
            data_batch (dict): A batch of data from the dataloader.
            data_samples (Sequence[dict]): A batch of data samples that
                contain predictions.
        """
        super().process(data_batch, data_samples)
        own = self.results[len(self.results) - len(data_samples) :]
        for data_sample, (_, prediction) in zip(data_samples, own):
            stds = data_sample['pred_instances'].get('bbox_stds')
            prediction['errors'] = proposal_errors(
                prediction['bboxes'],
                prediction['scores'],
                None if stds is None else stds.cpu().numpy(),
                *self._ground_truth(prediction['img_id']),
                max_num=self.proposal_nums[-1],
            )

    def _ground_truth(self, img_id: int) -> Tuple[np.ndarray, np.ndarray]:
        """Boxes (k, 4) of an image and whether to ignore them (k, )."""
        annotations = self._coco_api.imgToAnns.get(img_id, [])
        boxes = np.array([ann['bbox'] for ann in annotations], dtype=float)
        boxes = boxes.reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        ignored = [bool(ann.get('iscrowd', 0)) for ann in annotations]
        return boxes, np.array(ignored, dtype=bool)

    def compute_metrics(self, results: List[tuple]) -> Dict[str, float]:
        """Compute the recalls of all images, and the calibration.

        Args:
            results (list[tuple]): A ground truth and a prediction per image,
                as collected by ``process``.

        Returns:
            dict[str, float]: ``AR@n`` for each n, and ``AR_s@n``, ``AR_m@n``,
            ``AR_l@n`` for the largest, each in [0, 1]; -1 where there is no
            object to recall. Then the figures of
            :func:`objectness_calibration` and, of predictions with
            ``bbox_stds``, :func:`std_calibration`; those without a value,
            such as where no proposal is on an object, are left out.
        """
        predictions = [prediction for _, prediction in results]
        coco_eval = self.match(predictions)
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
        # Scores of some other head, which need be no probabilities.
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

    def match(
        self,
        predictions: List[dict],
        areas: Sequence[str] = ('all', 'small', 'medium', 'large'),
    ) -> COCOeval:
        """Match proposals with objects, whatever their category.

        Args:
            predictions (list[dict]): Of each image ``img_id``, ``bboxes``
                (n, 4) in pixels of the original image and ``scores`` (n, ).
            areas (Sequence[str]): Of pycocotools' ranges of object area those
                to match in, each of which takes its time. Defaults to all.

        Returns:
            COCOeval: Evaluated, with the matches of each image, but not yet
            accumulated.
        """
        coco_eval = COCOeval(self._coco_api, self._detections(predictions))
        coco_eval.params.iouType = 'bbox'
        coco_eval.params.useCats = 0
        coco_eval.params.imgIds = [pred['img_id'] for pred in predictions]
        coco_eval.params.maxDets = self.proposal_nums
        coco_eval.params.iouThrs = np.asarray(self.iou_thrs)
        ranges = dict(
            zip(coco_eval.params.areaRngLbl, coco_eval.params.areaRng)
        )
        coco_eval.params.areaRng = [ranges[area] for area in areas]
        coco_eval.params.areaRngLbl = list(areas)
        coco_eval.evaluate()
        return coco_eval

    def _detections(self, predictions: List[dict]) -> COCO:
        """Pack proposals, all of one category, into pycocotools' form."""
        category = self._coco_api.get_cat_ids()[0]
        annotations = []
        for prediction in predictions:
            boxes = np.array(prediction['bboxes'], dtype=float)
            boxes[:, 2:] -= boxes[:, :2]
            for box, score in zip(boxes, prediction['scores']):
                annotations.append(
                    dict(
                        id=len(annotations) + 1,  # 0 would mean 'unmatched'
                        image_id=prediction['img_id'],
                        category_id=category,
                        bbox=box.tolist(),
                        area=box[2] * box[3],
                        score=float(score),
                        iscrowd=0,
                    )
                )
        # Not loadRes, which fails where there is no proposal at all.
        detections = COCO()
        detections.dataset = dict(
            images=self._coco_api.dataset['images'],
            categories=self._coco_api.dataset['categories'],
            annotations=annotations,
        )
        detections.createIndex()
        return detections


def _mean_of_valid(recall: np.ndarray) -> float:
    """Mean over IoU thresholds; pycocotools marks 'no object' by -1."""
    valid = recall[recall > -1]
    return float(valid.mean()) if valid.size else -1.0
