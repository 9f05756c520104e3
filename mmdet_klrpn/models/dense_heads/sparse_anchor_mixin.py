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
from typing import (
    Dict,
    List,
    NamedTuple,
    Optional,
    Set,
    Tuple,
    Union,
)

import torch
from mmdet.models.task_modules.samplers import RandomSampler
from mmdet.structures.bbox import (
    BaseBoxes,
    cat_boxes,
    get_box_tensor,
    get_box_wh,
    scale_boxes,
)
from mmdet.utils import InstanceList, OptInstanceList
from mmengine.config import ConfigDict
from mmengine.logging import print_log
from mmengine.structures import InstanceData
from torch import Tensor

from mmdet_klrpn.models.task_modules import (
    AnchorGrid,
    AnchorIndex,
    anchor_grid,
    assign_on_grid,
    inside_cells,
    sample_batch,
    why_not_on_grid,
)

from .finite import broken_proposals, check_boxes, is_autocast, warn
from .sparse_nms import suppress


class Samples(NamedTuple):
    """Sampled anchors of a batch, positives first, and their targets.

    Attributes:
        images (Tensor): (n, ) image of each.
        anchors (AnchorIndex): (n, ) each.
        targets (Tensor): (p, 4) encoded offsets of the p positives.
        labels (Tensor): (p, ).
        avg_factor (int | Tensor): What to divide the sum of losses by.
    """

    images: Tensor
    anchors: AnchorIndex
    targets: Tensor
    labels: Tensor
    avg_factor: Union[int, Tensor]


class SparseAnchorMixin:
    """Samples and proposals of an :class:`RPNHead`, without its detours.

    To be inherited before RPNHead. Configs stay as they are and results are
    those of RPNHead, up to ties. Assigners, samplers and kinds of NMS other
    than the usual ones run as in mmdet; the log says so, once, and why.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self._logged: Set[str] = set()
        # Steps in a row that were left to a gradient scaler to skip.
        self._num_skipped = 0
        self._has_dropped = False

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
        objects = gt_inds.flatten()[pos] - 1
        boxes = torch.cat([_boxes(gt) for gt in batch_gt_instances])[objects]
        labels = torch.cat([gt.labels for gt in batch_gt_instances])[objects]
        images, anchors = _locate_samples(grid, pos, neg)
        priors = grid.boxes(anchors.select(slice(len(pos))))
        targets = self.bbox_coder.encode(priors, boxes)
        return grid, Samples(images, anchors, targets, labels, avg_factor)

    def _positive_weight(self) -> Optional[float]:
        """The weight of a positive, None for 1."""
        weight = self.train_cfg['pos_weight']
        return weight if weight > 0 else None

    def _draw(
        self, grid: AnchorGrid, gt_inds: Tensor
    ) -> Tuple[Tensor, Tensor, Union[int, Tensor]]:
        """Draw the very anchors that the sampler would, see `sample_batch`.

        Args:
            grid (AnchorGrid): The anchors.
            gt_inds (Tensor): (N, R), in map order.

        Returns:
            tuple: Positives and negatives among N * R in map order, and the
            number to divide losses by.
        """
        gt_inds = gt_inds[:, grid.mmdet_order]
        *samples, avg_factor = sample_batch(self.sampler, gt_inds)
        pos, neg = map(grid.from_mmdet, samples)
        return pos, neg, avg_factor

    def _grid(self, maps: List[Tensor]) -> AnchorGrid:
        sizes = tuple(tuple(level.shape[-2:]) for level in maps)
        return anchor_grid(self.prior_generator, sizes, maps[0].device)

    def _why_dense(
        self,
        grid: AnchorGrid,
        batch_gt_instances: InstanceList,
        batch_gt_instances_ignore: OptInstanceList,
    ) -> Optional[str]:
        """Say why only mmdet can assign this batch; None if it need not."""
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
        """Objects of anchors, (N, R) in map order; None for mmdet's error."""
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
        return Samples(
            *_locate_samples(grid, *(grid.from_mmdet(x) for x in (pos, neg))),
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
        maps = [
            [x.detach() for x in levels] for levels in (cls_scores, bbox_preds)
        ]
        args = (*maps, batch_img_metas, cfg, rescale)
        proposals, are_finite = self._predict(*args)
        if bool(are_finite.all()):
            return proposals
        text = broken_proposals(
            batch_img_metas[int(are_finite.int().argmin())]
        )
        if self.training and not is_autocast(cls_scores[0]):
            raise FloatingPointError(text)
        if not self._has_dropped:
            warn(f'{text}. Until then such boxes are dropped')
            self._has_dropped = True
        # The best of the others: not searched for where all is well.
        return self._predict(*args, drop=True)[0]

    def _predict(
        self,
        cls_scores: List[Tensor],
        bbox_preds: List[Tensor],
        batch_img_metas: List[dict],
        cfg: ConfigDict,
        rescale: bool,
        drop: bool = False,
    ) -> Tuple[InstanceList, Tensor]:
        """Proposals, and whether those before NMS are finite, (N, ).

        With ``drop`` anchors that are not finite are not selected.
        """
        grid = self._grid(cls_scores)
        # 1. Select the best anchors of each level, before NMS.
        index = self._best_anchors(
            cls_scores, bbox_preds, cfg.get('nms_pre', -1), drop
        )
        num_images, count = index.shape
        anchors = grid.locate(index.flatten())
        images = torch.arange(num_images, device=index.device)
        images = images[:, None].expand_as(index).flatten()
        # (N * M, S) and (N * M, 4)
        cls_score, deltas = grid.gather(
            images, anchors, cls_scores, bbox_preds
        )
        # 2. Decode and describe them, all images at once.
        priors = grid.boxes(anchors, cls_score.dtype)
        bboxes = self._decode(priors, deltas, batch_img_metas)
        numbers = torch.cat([cls_score, deltas, get_box_tensor(bboxes)], dim=1)
        is_finite = torch.isfinite(numbers).all(dim=1)
        # They are on the host once NMS has waited for the device.
        are_finite = is_finite.view(num_images, count).all(dim=1)
        are_finite = are_finite.to('cpu', non_blocking=True)
        results = InstanceData(
            bboxes=bboxes,
            level_ids=grid.levels[anchors.base],
            is_finite=is_finite,
            **self._describe(priors, deltas, cls_score),
        )
        # 3. NMS, image by image.
        proposals = [
            self._bbox_post_process(
                results[i * count : (i + 1) * count],
                cfg,
                rescale,
                img_meta=img_meta,
            )
            for i, img_meta in enumerate(batch_img_metas)
        ]
        return proposals, are_finite

    def _best_anchors(
        self,
        cls_scores: List[Tensor],
        bbox_preds: List[Tensor],
        nms_pre: int,
        drop: bool,
    ) -> Tensor:
        """Positions in map order, (N, M), of each level's best anchors.

        With ``drop`` those that are not finite come last.
        """
        best, first = [], 0
        for level, bbox_pred in zip(cls_scores, bbox_preds):
            ranking = self._ranking(level)
            if drop:  # or top-k would take NaN for the largest
                count = ranking.shape[1]
                for maps in (level, bbox_pred):
                    is_finite = torch.isfinite(maps).unflatten(1, (count, -1))
                    lost = ~is_finite.all(dim=2)
                    ranking = ranking.masked_fill(lost, -math.inf)
            ranking = ranking.flatten(1)
            number = ranking.shape[1]
            if 0 < nms_pre < number:
                index = ranking.topk(nms_pre, dim=1, sorted=False).indices
            else:
                index = torch.arange(number, device=level.device)
                index = index.expand(len(level), -1)
            best.append(index + first)
            first += number
        return torch.cat(best, dim=1)

    def _decode(
        self, priors: Tensor, deltas: Tensor, batch_img_metas: List[dict]
    ) -> Union[Tensor, BaseBoxes]:
        """Boxes (N * M, 4) of as many anchors of each image."""
        shapes = [tuple(meta['img_shape']) for meta in batch_img_metas]
        if len(set(shapes)) == 1:
            shapes = shapes[:1]
        boxes = [
            self.bbox_coder.decode(*part, max_shape=shape)
            for *part, shape in zip(
                priors.chunk(len(shapes)), deltas.chunk(len(shapes)), shapes
            )
        ]
        return cat_boxes(boxes)

    def _bbox_post_process(
        self,
        results: InstanceData,
        cfg: ConfigDict,
        rescale: bool = False,
        with_nms: bool = True,
        img_meta: Optional[dict] = None,
    ) -> InstanceData:
        """Drop boxes that are not finite, then do what RPNHead does.

        It is faster where NMS has one threshold, and boxes have an extent.
        """
        if rescale and 'bbox_stds' in results:
            factor = [1 / scale for scale in img_meta['scale_factor']]
            results.bbox_stds = scale_boxes(results.bbox_stds, factor)
        is_valid = results.pop('is_finite')
        least_size = cfg.get('min_bbox_size', -1)
        plain = set(cfg.nms or ()) == {'type', 'iou_threshold'}
        if (
            not plain
            or cfg.nms['type'] != 'nms'
            or cfg.nms['iou_threshold'] >= 1
            or cfg.max_per_img <= 0
            or least_size < 0
        ):
            results = results[is_valid.nonzero()[:, 0]]
            none = results[:0]
            results = super()._bbox_post_process(
                results, cfg, rescale, with_nms, img_meta
            )
            # An empty result, which the parent makes anew, lacks fields.
            if 'bbox_stds' in none and 'bbox_stds' not in results:
                results.bbox_stds = none.bbox_stds
            return results
        if rescale:
            factor = [1 / scale for scale in img_meta['scale_factor']]
            results.bboxes = scale_boxes(results.bboxes, factor)
        width, height = get_box_wh(results.bboxes)
        is_valid = is_valid & (torch.min(width, height) > least_size)
        keep = suppress(
            get_box_tensor(results.bboxes),
            results.scores,
            results.pop('level_ids'),
            is_valid,
            cfg.nms['iou_threshold'],
            cfg.max_per_img,
        )
        results = results[keep]
        results.labels = torch.zeros_like(keep)
        return results

    def _ranking(self, cls_score: Tensor) -> Tensor:
        """A map (N, A, H, W) that ascends with the score of one level."""
        raise NotImplementedError

    def _describe(
        self, priors: Tensor, deltas: Tensor, cls_scores: Tensor
    ) -> Dict[str, Tensor]:
        """Compute the scores of anchors, and what else a head knows of them.

        Args:
            priors (Tensor): (n, 4) anchors, in input pixels.
            deltas (Tensor): (n, 4) their encoded offsets.
            cls_scores (Tensor): (n, S).

        Returns:
            dict[str, Tensor]: (n, ...) by the name of the field: ``scores``
            (n, ), and others.
        """
        raise NotImplementedError


def _boxes(instances: InstanceData) -> Tensor:
    """Boxes as a tensor, (n, 4)."""
    return get_box_tensor(instances.bboxes)


def _locate_samples(
    grid: AnchorGrid, pos: Tensor, neg: Tensor
) -> Tuple[Tensor, AnchorIndex]:
    """Images and anchors of positives, then negatives, given among N * R."""
    index = torch.cat([pos, neg])
    images = index // grid.num_anchors
    return images, grid.locate(index - images * grid.num_anchors)
