"""An RPN head that predicts its best boxes again, see :class:`SecondLook`.

Shapes as in that file.
"""

from typing import Dict, List, Tuple

import torch
from mmdet.registry import MODELS
from mmdet.structures.bbox import bbox_overlaps, get_box_tensor
from mmdet.utils import InstanceList, OptConfigType
from mmengine.structures import InstanceData
from torch import Tensor

from mmdet_klrpn.models.task_modules import AnchorGrid

from .second_look import Boxes
from .sparse_sampling import Samples

# Boxes without a second look get the second score of background.
_BACKGROUND = 0.01
# Number of an image's best boxes to train on.
_NUM_TRAINED = 256
# Minimum IoU of positives, as in an RoI head.
_POS_IOU_THR = 0.5


class SecondLookMixin:
    """Adds an optional second look to a sparse RPN head.

    Inherit it before the other mixins and RPNHead. With a second look the head
    has a third output, the features, which mmdet passes to ``loss_by_feat``
    and ``predict_by_feat``.

    Args:
        second_look (dict, optional): Options of :class:`SecondLook`; {} takes
            its defaults. Defaults to None, for no second look.

    Raises:
        ValueError: If ``reg_decoded_bbox`` is set too.
    """

    def __init__(
        self, *args, second_look: OptConfigType = None, **kwargs
    ) -> None:
        super().__init__(*args, **kwargs)
        if second_look is not None:
            if self.reg_decoded_bbox:
                raise ValueError(
                    'reg_decoded_bbox must be False with a second_look, whose '
                    'losses are those of encoded offsets'
                )
            derived = dict(
                in_channels=self.in_channels,
                num_scores=self.cls_out_channels,
                strides=[max(x) for x in self.prior_generator.strides],
            )
            second_look = MODELS.build(
                {'type': 'SecondLook', **second_look, **derived}
            )
        self.second_look = second_look

    def forward(self, x: Tuple[Tensor]) -> Tuple[List[Tensor], ...]:
        """Predict, and pass the features on to the second look."""
        outs = super().forward(x)
        return outs if self.second_look is None else (*outs, list(x))

    def _sparse_losses(
        self, cls_scores: List[Tensor], bbox_preds: List[Tensor], *args
    ) -> Dict[str, Tensor]:
        """Losses of sampled anchors, and of boxes predicted again."""
        if self.second_look is None:
            return super()._sparse_losses(cls_scores, bbox_preds, *args)
        features, *args = args
        grid, samples, predictions = self._predicted_samples(
            cls_scores, bbox_preds, *args
        )
        losses = self._losses(*predictions, samples)
        with torch.no_grad():
            boxes, samples = self._boxes_to_train(
                cls_scores, bbox_preds, grid, samples, predictions[1], *args
            )
        second = self._losses(*self.second_look(features, boxes), samples)
        for name, value in second.items():
            if 'loss' in name:
                name = name.replace('loss_rpn_', 'loss_rpn_second_')
                losses[name] = value
        return losses

    def _boxes_to_train(
        self,
        cls_scores: List[Tensor],
        bbox_preds: List[Tensor],
        grid: AnchorGrid,
        samples: Samples,
        deltas: Tensor,
        batch_gt_instances: InstanceList,
        batch_img_metas: List[dict],
        *_,
    ) -> Tuple[Boxes, Samples]:
        """The boxes of the best anchors and of the sampled positives.

        The best boxes alone would lack objects that the head still misses.
        """
        candidates = self._candidates(
            cls_scores, bbox_preds, batch_img_metas, _NUM_TRAINED
        )
        best, _ = self._best_boxes(
            candidates, len(batch_img_metas), _NUM_TRAINED
        )
        pos = slice(len(samples.targets))
        anchors = samples.anchors.select(pos)
        bboxes = self.bbox_coder.decode(grid.boxes(anchors), deltas[pos])
        positives = Boxes(
            get_box_tensor(bboxes),
            samples.images[pos],
            grid.levels[anchors.base],
        )
        boxes = Boxes(*map(torch.cat, zip(best, positives)))
        return self._assign_boxes(boxes, batch_gt_instances)

    def _assign_boxes(
        self, boxes: Boxes, batch_gt_instances: InstanceList
    ) -> Tuple[Boxes, Samples]:
        """Sort boxes, positives first, and find their targets."""
        best = boxes.boxes.new_zeros(len(boxes.boxes))
        targets = torch.zeros_like(boxes.boxes)
        for image, gt_instances in enumerate(batch_gt_instances):
            objects = get_box_tensor(gt_instances.bboxes)
            if len(objects) == 0:
                continue
            # Compare all boxes: selecting the image's would wait for the
            # device.
            overlaps, nearest = bbox_overlaps(boxes.boxes, objects).max(dim=1)
            is_own = boxes.images == image
            best = torch.where(is_own, overlaps, best)
            own = objects[nearest].to(targets)
            targets = torch.where(is_own[:, None], own, targets)
        is_pos = best >= _POS_IOU_THR
        order = (~is_pos).long().argsort(stable=True)
        boxes = Boxes(*(part[order] for part in boxes))
        pos = slice(int(is_pos.sum()))
        targets = self.bbox_coder.encode(boxes.boxes[pos], targets[order][pos])
        labels = boxes.images.new_zeros(len(targets))
        return boxes, Samples(
            boxes.images,
            None,
            targets,
            labels,
            len(order),
            len(batch_gt_instances),
        )

    @torch.no_grad()
    def _look_again(
        self,
        results: InstanceData,
        features: List[Tensor],
        batch_img_metas: List[dict],
    ) -> InstanceData:
        """Replace the best candidates by what the second look predicts.

        Args:
            results (InstanceData): As from ``_candidates``.
            features (list[Tensor]): Per level, (N, C, H, W).
            batch_img_metas (list[dict]): Meta information of each image.

        Returns:
            InstanceData: The same, with new boxes and fields for these
            candidates. Scores are the first times a power of the second.
        """
        look, num_images = self.second_look, len(batch_img_metas)
        rois, index = self._best_boxes(results, num_images, look.num)
        logits, deltas = look(features, rois)
        fields = dict(
            self._describe(rois.boxes, deltas, logits),
            bboxes=self._decode(rois.boxes, deltas, batch_img_metas),
            is_finite=torch.isfinite(torch.cat([logits, deltas], 1)).all(1),
        )
        fields['is_finite'] &= results.is_finite[index]
        factors = torch.full_like(results.scores, _BACKGROUND)
        factors = factors.index_copy(0, index, fields.pop('scores'))
        results.scores = results.scores * factors**look.power
        for name, values in fields.items():
            results[name][index] = values.to(results[name].dtype)
        return results

    @staticmethod
    def _best_boxes(
        candidates: InstanceData, num_images: int, number: int
    ) -> Tuple[Boxes, Tensor]:
        """Find the boxes of the best scores in each image.

        Returns:
            tuple: The boxes, image by image, and their positions.
        """
        scores = candidates.scores.masked_fill(~candidates.is_finite, -1)
        scores = scores.view(num_images, -1)
        count = scores.shape[1]
        index = scores.topk(min(number, count), dim=1).indices
        images = torch.arange(num_images, device=index.device)[:, None]
        index, images = index + images * count, images.expand_as(index)
        index = index.flatten()
        boxes = get_box_tensor(candidates.bboxes)[index]
        levels = candidates.level_ids[index]
        return Boxes(boxes, images.flatten(), levels), index
