"""Sample the anchors that an RPN head trains on, without visiting all.

Shapes, for this file:
    N     images in the batch
    R     anchors of an image over all levels, the sum of A * H * W
"""

from typing import Dict, List, NamedTuple, Optional, Set, Tuple

import torch
from mmdet.models.task_modules.samplers import RandomSampler
from mmdet.structures.bbox import get_box_tensor
from mmdet.utils import InstanceList, OptInstanceList
from mmengine.logging import print_log
from mmengine.structures import InstanceData
from torch import Tensor

from mmdet_klrpn.models.task_modules import (
    AnchorGrid,
    AnchorIndex,
    assign_on_grid,
    grid_of_maps,
    inside_cells,
    sample_batch,
    take,
    why_not_on_grid,
)

from .finite import check_boxes, check_losses


class Samples(NamedTuple):
    """Sampled anchors of a batch, positives first, and their targets.

    Attributes:
        images (Tensor): (n, ) image of each sample.
        anchors (AnchorIndex): (n, ) anchor of each sample.
        targets (Tensor): (p, 4) encoded offsets of the p positives.
        labels (Tensor): (p, ).
        avg_factor (int): Divisor of the sum of losses.
        num_images (int): N.
    """

    images: Tensor
    anchors: AnchorIndex
    targets: Tensor
    labels: Tensor
    avg_factor: int
    num_images: int


class SparseSamplingMixin:
    """Sample the anchors of an :class:`RPNHead`, visiting only those needed.

    Inherit it before RPNHead. Other assigners, samplers and anchors than the
    usual ones run as in mmdet; the reason is logged once.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self._logged: Set[str] = set()
        # Steps in a row that a gradient scaler has skipped.
        self._num_skipped = 0

    # Further advice if a loss is not finite.
    divergence_advice = ''

    def loss_by_feat(
        self, cls_scores: List[Tensor], bbox_preds: List[Tensor], *args
    ) -> Dict[str, Tensor]:
        """Losses of the sampled anchors.

        Args:
            cls_scores (list[Tensor]): Logits per level, (N, A * S, H, W).
            bbox_preds (list[Tensor]): Encoded offsets per level, (N, A * 4,
                H, W).
            *args: With a second look the features, list[Tensor], per level (N,
                C, H, W). Then, as in RPNHead, ``batch_gt_instances``, with
                ``bboxes`` (n, 4) in input pixels and ``labels`` (n, ) of each
                image; ``batch_img_metas``; and ``batch_gt_instances_ignore``,
                optional, regions whose anchors are not sampled.

        Returns:
            dict[str, Tensor]: Scalars: losses ``loss_rpn_*``
            (``loss_rpn_second_*`` for the second look), and values that are
            only logged.

        Raises:
            ValueError: If no anchor lies inside an image, or a box is not
                finite.
            FloatingPointError: If a loss is not finite; under autocast, where
                a gradient scaler skips the step, if several in a row are not.
        """
        if self.reg_decoded_bbox:
            losses = super().loss_by_feat(cls_scores, bbox_preds, *args)
        else:
            losses = self._sparse_losses(cls_scores, bbox_preds, *args)
        summed = {k: value for k, value in losses.items() if 'loss' in k}
        self._num_skipped = check_losses(
            summed, self._num_skipped, self.divergence_advice
        )
        return losses

    def _sparse_losses(
        self, cls_scores: List[Tensor], bbox_preds: List[Tensor], *args
    ) -> Dict[str, Tensor]:
        """Losses of the sampled anchors."""
        _, samples, predictions = self._predicted_samples(
            cls_scores, bbox_preds, *args
        )
        return self._losses(*predictions, samples)

    def _predicted_samples(
        self, cls_scores: List[Tensor], bbox_preds: List[Tensor], *args
    ) -> Tuple[AnchorGrid, Samples, Tuple[Tensor, Tensor]]:
        """Sample anchors, and gather their logits and offsets."""
        grid, samples = self.sample_anchors(cls_scores, *args)
        predictions = grid.gather(
            samples.images, samples.anchors, cls_scores, bbox_preds
        )
        return grid, samples, predictions

    def sample_anchors(
        self,
        maps: List[Tensor],
        batch_gt_instances: InstanceList,
        batch_img_metas: List[dict],
        batch_gt_instances_ignore: OptInstanceList = None,
    ) -> Tuple[AnchorGrid, Samples]:
        """Assign and sample the anchors of a batch.

        Args:
            maps (list[Tensor]): Per level, (N, any, H, W), whose sizes and
                device are used.
            batch_gt_instances (list[InstanceData]): ``bboxes`` (n, 4) in input
                pixels and ``labels`` (n, ) of each image.
            batch_img_metas (list[dict]): Meta information of each image.
            batch_gt_instances_ignore (list[InstanceData], optional): Regions
                whose anchors are not sampled.

        Returns:
            tuple: The grid, to gather predictions with, and the samples.

        Raises:
            ValueError: If no anchor lies inside an image, or a box is not
                finite.
        """
        grid = grid_of_maps(self.prior_generator, maps)
        args = (batch_gt_instances, batch_img_metas, batch_gt_instances_ignore)
        reason = self._why_dense(
            grid, batch_gt_instances, batch_gt_instances_ignore
        )
        gt_inds = None
        if reason is None:
            gt_inds = self._assign(grid, batch_gt_instances, batch_img_metas)
        elif reason not in self._logged:
            self._logged.add(reason)
            print_log(
                f'{type(self).__name__} computes the targets of every anchor, '
                f"by mmdet's slower path: {reason}",
                logger='current',
            )
        if gt_inds is None:
            return grid, self._sample_densely(grid, *args)
        pos, neg, avg_factor = self._draw(grid, gt_inds)
        objects = take(gt_inds.flatten(), pos) - 1
        boxes = torch.cat([_boxes(gt) for gt in batch_gt_instances])
        labels = torch.cat([gt.labels for gt in batch_gt_instances])
        boxes, labels = take(boxes, objects), take(labels, objects)
        images, index = _split(grid, pos, neg)
        priors = grid.columns.index_select(1, index[: len(pos)]).T
        targets = self.bbox_coder.encode(priors, boxes)
        anchors, count = grid.locate(index), len(gt_inds)
        return grid, Samples(
            images, anchors, targets, labels, avg_factor, count
        )

    def _positive_weight(self) -> Optional[float]:
        """Weight of a positive; None for 1."""
        weight = self.train_cfg['pos_weight']
        return weight if weight > 0 else None

    def _draw(
        self, grid: AnchorGrid, gt_inds: Tensor
    ) -> Tuple[Tensor, Tensor, int]:
        """Draw the same anchors as the sampler, see `sample_batch`.

        Args:
            grid (AnchorGrid): The anchors.
            gt_inds (Tensor): (N, R), in map order.

        Returns:
            tuple: Positives and negatives among N * R in map order, and the
            divisor of losses.
        """
        gt_inds = gt_inds[:, grid.mmdet_order]
        *samples, avg_factor = sample_batch(self.sampler, gt_inds)
        pos, neg = map(grid.from_mmdet, samples)
        return pos, neg, avg_factor

    def _why_dense(
        self,
        grid: AnchorGrid,
        batch_gt_instances: InstanceList,
        batch_gt_instances_ignore: OptInstanceList,
    ) -> Optional[str]:
        """Say why mmdet has to assign this batch; None if it need not."""
        unsupported = why_not_on_grid(self.assigner)
        if unsupported:
            return f'assigner: {unsupported}'
        sampler = type(self.sampler).__name__
        if type(self.sampler) is not RandomSampler:
            return f'{sampler} is not a RandomSampler'
        if self.sampler.add_gt_as_proposals:
            return f'add_gt_as_proposals of {sampler} is set'
        if not grid.is_regular:
            return f'{type(grid.generator).__name__} lays anchors its own way'
        dtypes = {_boxes(gt).dtype for gt in batch_gt_instances}
        if dtypes != {torch.float32}:
            return f'boxes are {dtypes}, not float32'
        ignore = [x for x in batch_gt_instances_ignore or [] if x is not None]
        if self.assigner.ignore_iof_thr > 0 and any(map(len, ignore)):
            return 'ignore_iof_thr is set and there are regions to ignore'
        return None

    def _assign(
        self,
        grid: AnchorGrid,
        batch_gt_instances: InstanceList,
        batch_img_metas: List[dict],
    ) -> Optional[Tensor]:
        """Objects of anchors, (N, R) in map order; None if mmdet raises."""
        border = self.train_cfg['allowed_border']
        inside = inside_cells(grid, batch_img_metas, border)
        bboxes = [_boxes(gt) for gt in batch_gt_instances]
        if inside is not None and not inside.are_anywhere():
            return None
        return assign_on_grid(self.assigner, grid, bboxes, inside)

    def _sample_densely(
        self,
        grid: AnchorGrid,
        batch_gt_instances: InstanceList,
        batch_img_metas: List[dict],
        batch_gt_instances_ignore: OptInstanceList,
    ) -> Samples:
        """Sample with mmdet's own targets of all anchors."""
        # The sparse path sends boxes that are not finite here.
        check_boxes(batch_gt_instances, batch_img_metas)
        anchors, valid_flags = self.get_anchors(
            grid.featmap_sizes, batch_img_metas, device=grid.device
        )
        *targets, avg_factor = self.get_targets(
            anchors,
            valid_flags,
            batch_gt_instances,
            batch_img_metas,
            batch_gt_instances_ignore=batch_gt_instances_ignore,
        )[:5]
        # Per level (N, A * H * W, ...) to rows of anchors.
        labels, weights, targets, target_weights = (
            torch.cat(values, dim=1).flatten(0, 1) for values in targets
        )
        is_pos = target_weights.any(dim=1)
        pos = is_pos.nonzero()[:, 0]
        neg = ((weights > 0) & ~is_pos).nonzero()[:, 0]
        images, index = _split(grid, *map(grid.from_mmdet, (pos, neg)))
        anchors, count = grid.locate(index), len(batch_img_metas)
        targets, labels = targets[pos], labels[pos]
        return Samples(images, anchors, targets, labels, avg_factor, count)


def _boxes(instances: InstanceData) -> Tensor:
    """Boxes as a tensor, (n, 4)."""
    return get_box_tensor(instances.bboxes)


def _split(
    grid: AnchorGrid, pos: Tensor, neg: Tensor
) -> Tuple[Tensor, Tensor]:
    """Split positions among N * R into images and positions among R."""
    index = torch.cat([pos, neg])
    return index // grid.num_anchors, index % grid.num_anchors
