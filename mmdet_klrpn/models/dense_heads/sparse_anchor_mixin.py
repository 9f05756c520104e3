"""What an RPN head computes, for the anchors that matter only.

Shapes, for this file and the heads that use it:
    N     images in the batch
    A     base anchors per location
    S     channels of the score per anchor (``cls_out_channels``)
    H, W  size of one level's feature map
    R     anchors of an image over all levels, the sum of A * H * W
    M     anchors of an image that enter NMS
"""

import math
from typing import List, NamedTuple, Optional, Sequence, Tuple

import torch
from mmdet.models.task_modules.prior_generators import anchor_inside_flags
from mmdet.models.task_modules.samplers import RandomSampler
from mmdet.structures.bbox import get_box_tensor, get_box_wh, scale_boxes
from mmdet.utils import InstanceList, OptInstanceList
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor

from mmdet_klrpn.models.task_modules import (
    AnchorGrid,
    Place,
    anchor_grid,
    assign_on_grid,
    least_useful_iou,
    sample_batch,
    take_rows,
)

from .finite import check_boxes, is_autocast, rows_unless_broken, warn
from .sparse_nms import suppress


class Samples(NamedTuple):
    """Sampled anchors of a batch, positives first, and their targets.

    Attributes:
        images (Tensor): (n, ) image of each.
        place (Place): Where each of the n is.
        targets (Tensor): (p, 4) encoded offsets of the p positives.
        labels (Tensor): (n, ), ``num_classes`` for negatives.
        weights (Tensor): (n, ).
        avg_factor (int): What to divide the sum of losses by.
    """

    images: Tensor
    place: Place
    targets: Tensor
    labels: Tensor
    weights: Tensor
    avg_factor: int


class SparseAnchorMixin:
    """Samples and proposals of an :class:`RPNHead`, without its detours.

    To be inherited before RPNHead. Configs stay as they are and results are
    those of RPNHead, up to ties. Assigners, samplers and kinds of NMS other
    than the usual ones run as in mmdet.
    """

    # Steps in a row whose losses were not finite, and whether the log has said
    # that proposals were not.
    _num_skipped = 0
    _has_dropped = False

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
            tuple: The grid, by which to gather predictions, and the samples.

        Raises:
            ValueError: If no anchor lies inside an image, or a box is not
                finite.
        """
        grid = self._grid(maps)
        args = (batch_gt_instances, batch_img_metas, batch_gt_instances_ignore)
        gt_inds = self._assign(grid, *args)
        if gt_inds is None:
            return grid, self._sample_densely(grid, *args)
        pos, neg, avg_factor = sample_batch(self.sampler, gt_inds)
        objects = gt_inds.flatten()[pos] - 1
        boxes = torch.cat([_boxes(gt) for gt in batch_gt_instances])[objects]
        labels = torch.cat([gt.labels for gt in batch_gt_instances])[objects]
        images, place = _whereabouts(grid, pos, neg)
        priors = grid.boxes(place.at(slice(len(pos))))
        targets = self.bbox_coder.encode(priors, boxes)
        return grid, self._samples(images, place, targets, labels, avg_factor)

    def _samples(
        self,
        images: Tensor,
        place: Place,
        targets: Tensor,
        labels: Tensor,
        avg_factor: int,
    ) -> Samples:
        """Samples, given the labels (p, ) of positives only."""
        num_pos, num_neg = len(labels), len(images) - len(labels)
        background = labels.new_full((num_neg,), self.num_classes)
        weights = torch.ones(len(images), device=images.device)
        if self.train_cfg['pos_weight'] > 0:
            weights[:num_pos] = self.train_cfg['pos_weight']
        labels = torch.cat([labels, background])
        return Samples(images, place, targets, labels, weights, avg_factor)

    def _grid(self, maps: List[Tensor]) -> AnchorGrid:
        sizes = tuple(tuple(level.shape[-2:]) for level in maps)
        return anchor_grid(self.prior_generator, sizes, maps[0].device)

    def _assign(
        self,
        grid: AnchorGrid,
        batch_gt_instances: InstanceList,
        batch_img_metas: List[dict],
        batch_gt_instances_ignore: OptInstanceList,
    ) -> Optional[Tensor]:
        """Objects of anchors, (N, R), or None where it takes mmdet's path."""
        bboxes = [_boxes(gt) for gt in batch_gt_instances]
        ignore = [x for x in batch_gt_instances_ignore or [] if x is not None]
        if (
            not grid.is_regular
            or least_useful_iou(self.assigner) is None
            or type(self.sampler) is not RandomSampler
            or self.sampler.add_gt_as_proposals
            or any(boxes.dtype != torch.float32 for boxes in bboxes)
            or (self.assigner.ignore_iof_thr > 0 and any(map(len, ignore)))
        ):
            return None
        inside = self._inside(grid, batch_img_metas)
        if inside is not None and not inside.any(dim=1).all():
            return None  # for mmdet's error
        return assign_on_grid(self.assigner, grid, bboxes, inside)

    def _inside(
        self, grid: AnchorGrid, batch_img_metas: List[dict]
    ) -> Optional[Tensor]:
        """Which anchors are within their image, (N, R), None for all."""
        border = self.train_cfg['allowed_border']
        generator = self.prior_generator
        padded = [meta['pad_shape'][:2] for meta in batch_img_metas]
        covered = all(
            h > (rows - 1) * stride[1] and w > (columns - 1) * stride[0]
            for (rows, columns), stride in zip(
                grid.featmap_sizes, generator.strides
            )
            for h, w in padded
        )
        if covered and border < 0:
            return None
        anchors = grid.all_boxes() if border >= 0 else None
        flags = []
        for shape, img_meta in zip(padded, batch_img_metas):
            valid = torch.cat(
                generator.valid_flags(grid.featmap_sizes, shape, grid.device)
            )
            flags.append(
                anchor_inside_flags(
                    anchors, valid, img_meta['img_shape'], border
                )
            )
        return torch.stack(flags)

    def _sample_densely(
        self,
        grid: AnchorGrid,
        batch_gt_instances: InstanceList,
        batch_img_metas: List[dict],
        batch_gt_instances_ignore: OptInstanceList,
    ) -> Samples:
        """Sample by mmdet's own targets, of every anchor."""
        # The sparse path leaves boxes that are not finite to this one.
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
        return self._samples(
            *_whereabouts(grid, pos, neg),
            targets[pos],
            labels[pos],
            avg_factor,
        )

    def predict_by_feat(
        self,
        cls_scores: List[Tensor],
        bbox_preds: List[Tensor],
        score_factors: Optional[List[Tensor]] = None,
        batch_img_metas: Optional[List[dict]] = None,
        cfg: Optional[ConfigDict] = None,
        rescale: bool = False,
        with_nms: bool = True,
    ) -> InstanceList:
        """Turn predictions into proposals.

        Args:
            cls_scores (list[Tensor]): Per level, (N, A * S, H, W).
            bbox_preds (list[Tensor]): Encoded offsets per level, (N, A * 4,
                H, W).
            score_factors (list[Tensor], optional): Unused, as in RPNHead.
            batch_img_metas (list[dict]): Meta information of each image.
            cfg (ConfigDict, optional): Replaces ``test_cfg``.
            rescale (bool): Whether to return boxes in pixels of the original
                image. Defaults to False.
            with_nms (bool): Unused, as in RPNHead: there is always NMS.

        Returns:
            list[InstanceData]: Of each image, ``bboxes`` (n, 4) in pixels,
            ``scores`` (n, ), descending, and ``labels`` (n, ), all 0.

        Raises:
            FloatingPointError: If a prediction that would enter NMS is not
                finite, in training. In a test it is dropped, and under
                autocast, where a gradient scaler may skip the step.
        """
        cfg = self.test_cfg if cfg is None else cfg
        args = (cls_scores, bbox_preds, batch_img_metas, cfg, rescale)
        try:
            return self._predict(*args)
        except FloatingPointError as error:
            if self.training and not is_autocast(cls_scores[0]):
                raise
            if not self._has_dropped:
                warn(f'{error}. Until then such boxes are dropped')
                self._has_dropped = True
        # So that nobody pays for it, or waits, where all is well.
        return self._predict(*args, drop=True)

    def _predict(
        self,
        cls_scores: List[Tensor],
        bbox_preds: List[Tensor],
        batch_img_metas: List[dict],
        cfg: ConfigDict,
        rescale: bool,
        drop: bool = False,
    ) -> InstanceList:
        """Proposals; ``drop`` those not finite, or raise an error."""
        grid = self._grid(cls_scores)
        levels = [
            self._best_of_level(*level, cfg.get('nms_pre', -1), drop)
            for level in zip(cls_scores, bbox_preds, grid.first_bases)
        ]
        # (N, M, S), (N, M, 4), and (N, M) each of the places.
        scores, deltas, *place = (torch.cat(x, dim=1) for x in zip(*levels))
        level_ids = torch.cat(
            [torch.full_like(x[0], i) for i, (*_, x) in enumerate(levels)]
        )
        return [
            self._propose(
                grid.boxes(Place(*place).at(i), scores.dtype),
                # NMS wants boxes in the precision of the scores.
                deltas[i].to(scores.dtype),
                scores[i],
                level_ids,
                img_meta,
                cfg,
                rescale,
                drop,
            )
            for i, img_meta in enumerate(batch_img_metas)
        ]

    def _propose(
        self,
        priors: Tensor,
        deltas: Tensor,
        cls_scores: Tensor,
        level_ids: Tensor,
        img_meta: dict,
        cfg: ConfigDict,
        rescale: bool,
        drop: bool,
    ) -> InstanceData:
        """Proposals of an image from M anchors and predictions of them."""
        bboxes = self.bbox_coder.decode(
            priors, deltas, max_shape=img_meta['img_shape']
        )
        numbers = [cls_scores, deltas, get_box_tensor(bboxes)]
        finite = torch.isfinite(torch.cat(numbers, dim=1)).all(dim=1)
        broken = torch.zeros_like(finite) if drop else ~finite.all()
        results = InstanceData(
            bboxes=bboxes,
            scores=self._scores(cls_scores),
            level_ids=level_ids,
            finite=finite,
            broken=broken.expand(len(priors)),
            rows=torch.arange(len(priors), device=priors.device),
        )
        results = self._bbox_post_process(
            results, cfg, rescale, img_meta=img_meta
        )
        # An empty result, which the parent makes anew, has none.
        rows = results.pop('rows', level_ids[:0])
        scale = img_meta['scale_factor'] if rescale else None
        self._describe(
            results, priors[rows], deltas[rows], cls_scores[rows], scale
        )
        return results

    def _best_of_level(
        self,
        cls_score: Tensor,
        bbox_pred: Tensor,
        first: int,
        nms_pre: int,
        drop: bool,
    ) -> Tuple[Tensor, ...]:
        """Predictions and places of the ``nms_pre`` best of each image.

        Those that are to be dropped come last.

        Returns:
            tuple: (N, k, S) scores, (N, k, 4) offsets, and three of (N, k):
            base anchor, counted from ``first``, x and y.
        """
        width = cls_score.shape[-1]
        cells = width * cls_score.shape[-2]
        ranking = self._ranking(cls_score.detach()).flatten(1)
        count = ranking.shape[1] // cells
        if drop:  # for top-k takes NaN for the largest
            for maps in (cls_score, bbox_pred):
                finite = torch.isfinite(maps).unflatten(1, (count, -1)).all(2)
                ranking = ranking.masked_fill(~finite.flatten(1), -math.inf)
        images = torch.arange(len(ranking), device=ranking.device)[:, None]
        if 0 < nms_pre < ranking.shape[1]:
            index = ranking.topk(nms_pre, dim=1, sorted=False).indices
        else:
            index = torch.arange(ranking.shape[1], device=ranking.device)
            index = index.expand(len(ranking), -1)
        base, cell = index // cells, index % cells
        place = Place(base, cell % width, cell // width)
        scores, deltas = (
            take_rows(maps.detach(), count, images, place)
            for maps in (cls_score, bbox_pred)
        )
        return (scores, deltas, *place._replace(base=first + base))

    def _bbox_post_process(
        self,
        results: InstanceData,
        cfg: ConfigDict,
        rescale: bool = False,
        with_nms: bool = True,
        img_meta: Optional[dict] = None,
    ) -> InstanceData:
        """What RPNHead does, but faster where NMS is plain."""
        broken, finite = results.pop('broken'), results.pop('finite')
        plain = set(cfg.nms or ()) == {'type', 'iou_threshold'}
        if not plain or cfg.nms['type'] != 'nms' or cfg.max_per_img <= 0:
            results = results[rows_unless_broken(finite, broken, img_meta)]
            return super()._bbox_post_process(
                results, cfg, rescale, with_nms, img_meta
            )
        if rescale:
            factor = [1 / scale for scale in img_meta['scale_factor']]
            results.bboxes = scale_boxes(results.bboxes, factor)
        wanted = finite
        if cfg.get('min_bbox_size', -1) >= 0:
            width, height = get_box_wh(results.bboxes)
            wanted = finite & (torch.min(width, height) > cfg.min_bbox_size)
        # Once by number, where a mask would stop a GPU for each field.
        results = results[rows_unless_broken(wanted, broken, img_meta)]
        keep = suppress(
            get_box_tensor(results.bboxes),
            results.scores,
            results.pop('level_ids'),
            cfg.nms['iou_threshold'],
            cfg.max_per_img,
        )
        results = results[keep]
        results.labels = torch.zeros_like(keep)
        return results

    def _ranking(self, cls_score: Tensor) -> Tensor:
        """What ascends with the score, (N, A, H, W), of one level's map."""
        raise NotImplementedError

    def _scores(self, cls_scores: Tensor) -> Tensor:
        """Scores (n, ) of rows (n, S)."""
        raise NotImplementedError

    def _describe(
        self,
        results: InstanceData,
        priors: Tensor,
        deltas: Tensor,
        cls_scores: Tensor,
        scale: Optional[Sequence[float]],
    ) -> None:
        """Add to results what a head knows beyond boxes and scores.

        Args:
            results (InstanceData): n proposals, changed in place.
            priors (Tensor): (n, 4) their anchors, in input pixels.
            deltas (Tensor): (n, 4) their encoded offsets.
            cls_scores (Tensor): (n, S).
            scale (tuple[float], optional): What boxes were divided by, in x
                and y.
        """


def _boxes(instances: InstanceData) -> Tensor:
    """Boxes as a tensor, (n, 4)."""
    return get_box_tensor(instances.bboxes)


def _whereabouts(
    grid: AnchorGrid, pos: Tensor, neg: Tensor
) -> Tuple[Tensor, Place]:
    """Images and places of positives, then negatives, given among N * R."""
    index = torch.cat([pos, neg])
    place = grid.locate(index % grid.num_anchors)
    return index // grid.num_anchors, place
