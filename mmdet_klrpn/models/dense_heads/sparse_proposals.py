"""Proposals of an RPN head, computed only for anchors that enter NMS.

Shapes, for this file:
    N     images in the batch
    A     base anchors per location
    S     channels of the score per anchor (``cls_out_channels``)
    H, W  size of one level's feature map
    M     anchors of an image that enter NMS
"""

import math
from typing import Dict, List, Optional, Tuple, Union

import torch
from mmdet.structures.bbox import (
    BaseBoxes,
    cat_boxes,
    get_box_tensor,
    get_box_wh,
    scale_boxes,
)
from mmdet.utils import InstanceList
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor

from mmdet_klrpn.models.task_modules import grid_of_maps

from .finite import broken_proposals, is_autocast, warn
from .sparse_nms import suppress


class SparseProposalsMixin:
    """Compute the proposals of an :class:`RPNHead`, up to ties.

    Inherit it before RPNHead. Other kinds of NMS than plain ``nms`` run as in
    mmdet.
    """

    # Whether dropped proposals have been logged.
    _has_dropped = False

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
            score_factors (list[Tensor], optional): The features of each level,
                (N, C, H, W), for a second look. Unused without one.
            batch_img_metas (list[dict]): Meta information of each image.
            cfg (ConfigDict, optional): Replaces ``test_cfg``.
            rescale (bool): Whether to return boxes in pixels of the original
                image. Defaults to False.
            with_nms (bool): Unused, as in RPNHead: there is always NMS.

        Returns:
            list[InstanceData]: For each image ``bboxes`` (n, 4) in pixels,
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
        args = (*maps, score_factors, batch_img_metas, cfg, rescale)
        proposals, are_finite = self._predict(*args)
        finite = are_finite.tolist()
        if all(finite):
            return proposals
        text = broken_proposals(batch_img_metas[finite.index(False)])
        if self.training and not is_autocast(cls_scores[0]):
            raise FloatingPointError(text)
        if not self._has_dropped:
            warn(f'{text}. Until then such boxes are dropped')
            self._has_dropped = True
        # Only now select again, without them.
        return self._predict(*args, drop=True)[0]

    def _predict(
        self,
        cls_scores: List[Tensor],
        bbox_preds: List[Tensor],
        features: Optional[List[Tensor]],
        batch_img_metas: List[dict],
        cfg: ConfigDict,
        rescale: bool,
        drop: bool = False,
    ) -> Tuple[InstanceList, Tensor]:
        """Proposals, and whether all candidates are finite, (N, ).

        With ``drop`` anchors that are not finite are not selected.
        """
        results = self._candidates(
            cls_scores,
            bbox_preds,
            batch_img_metas,
            cfg.get('nms_pre', -1),
            drop,
        )
        if self.second_look is not None:
            results = self._look_again(results, features, batch_img_metas)
        num_images = len(batch_img_metas)
        count = len(results) // num_images
        # The flags are on the host once NMS has waited for the device.
        are_finite = results.is_finite.view(num_images, count).all(dim=1)
        are_finite = are_finite.to('cpu', non_blocking=True)
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

    def _candidates(
        self,
        cls_scores: List[Tensor],
        bbox_preds: List[Tensor],
        batch_img_metas: List[dict],
        nms_pre: int,
        drop: bool = False,
    ) -> InstanceData:
        """Decode each level's best anchors, and compute their fields.

        Returns:
            InstanceData: N * M anchors, image by image, with ``bboxes``,
            ``level_ids``, ``is_finite`` and the fields of ``_describe``.
        """
        grid = grid_of_maps(self.prior_generator, cls_scores)
        index = self._best_anchors(cls_scores, bbox_preds, nms_pre, drop)
        anchors = grid.locate(index.flatten())
        images = torch.arange(len(index), device=index.device)
        images = images[:, None].expand_as(index).flatten()
        # (N * M, S) and (N * M, 4)
        cls_score, deltas = grid.gather(
            images, anchors, cls_scores, bbox_preds
        )
        priors = grid.boxes(anchors, cls_score.dtype)
        bboxes = self._decode(priors, deltas, batch_img_metas)
        numbers = torch.cat([cls_score, deltas, get_box_tensor(bboxes)], dim=1)
        return InstanceData(
            bboxes=bboxes,
            level_ids=grid.levels[anchors.base],
            is_finite=torch.isfinite(numbers).all(dim=1),
            **self._describe(priors, deltas, cls_score),
        )

    def _best_anchors(
        self,
        cls_scores: List[Tensor],
        bbox_preds: List[Tensor],
        nms_pre: int,
        drop: bool,
    ) -> Tensor:
        """Positions in map order, (N, M), of each level's best anchors.

        With ``drop`` anchors that are not finite come last.
        """
        best, first = [], 0
        for level, bbox_pred in zip(cls_scores, bbox_preds):
            ranking = self._ranking(level)
            if drop:  # top-k takes NaN for the largest
                count = ranking.shape[1]
                for maps in (level, bbox_pred):
                    is_finite = torch.isfinite(maps).unflatten(1, (count, -1))
                    lost = ~is_finite.all(dim=2)
                    ranking = ranking.masked_fill(lost, -math.inf)
            ranking = ranking.flatten(1)
            number = int(ranking.shape[1])
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
        """Decode boxes (N * M, 4) of N * M anchors."""
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
        """Drop boxes that are not finite, then process as RPNHead does.

        Faster if NMS has one threshold and no box is empty.
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
            # The parent's empty result lacks fields.
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
        """Map (N, A, H, W) of one level that ranks anchors as scores do."""
        raise NotImplementedError

    def _describe(
        self, priors: Tensor, deltas: Tensor, cls_scores: Tensor
    ) -> Dict[str, Tensor]:
        """Compute the scores and other fields of anchors.

        Args:
            priors (Tensor): (n, 4) anchors, in input pixels.
            deltas (Tensor): (n, 4) their encoded offsets.
            cls_scores (Tensor): (n, S).

        Returns:
            dict[str, Tensor]: Fields (n, ...) by name: ``scores`` (n, ) and
            others.
        """
        raise NotImplementedError
