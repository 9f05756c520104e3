"""Link 6: what the first stage gives the RoI head to learn from."""

from typing import Dict, NamedTuple, Sequence, Tuple

import numpy as np
from mmdet.models.task_modules.samplers import SamplingResult
from mmdet.structures import SampleList
from mmdet.structures.bbox import bbox_overlaps
from mmengine.structures import InstanceData
from torch import Tensor, nn

from .groups import Groups, Row


class Taught(NamedTuple):
    """How often each object of an image is a positive sample's.

    Attributes:
        boxes (np.ndarray): (k, ) 1 where the object's own box is sampled, as
            ``add_gt_as_proposals`` lets it be.
        proposals (np.ndarray): (k, ) sampled proposals that are positive.
        ious (np.ndarray): (k, ) sum of the latter's IoU with the object.
        assigned (int): Proposals of the image that were positive before some
            were drawn.
        negatives (int): That were drawn.
    """

    boxes: np.ndarray
    proposals: np.ndarray
    ious: np.ndarray
    assigned: int
    negatives: int


def train_time_proposals(
    model: nn.Module, features: Sequence[Tensor], samples: SampleList
) -> InstanceData:
    """An image's proposals by ``train_cfg.rpn_proposal``, as ``priors``.

    As :class:`TwoStageDetector` does in training.
    """
    config = model.train_cfg.get('rpn_proposal', model.test_cfg.rpn)
    (proposals,) = model.rpn_head.predict_by_feat(
        *model.rpn_head(features),
        batch_img_metas=[sample.metainfo for sample in samples],
        cfg=config,
    )
    return InstanceData(priors=proposals.bboxes, scores=proposals.scores)


def sample_rois(
    roi_head: nn.Module,
    features: Sequence[Tensor],
    proposals: InstanceData,
    objects: InstanceData,
    ignored: InstanceData,
) -> Tuple[int, SamplingResult]:
    """Assign and sample by the RoI head's own assigner and sampler.

    Args:
        roi_head (nn.Module): With ``bbox_assigner`` and ``bbox_sampler``.
        features (Sequence[Tensor]): Of the image, (1, C, H, W) each.
        proposals (InstanceData): ``priors`` (n, 4) in pixels of the input.
        objects (InstanceData): ``bboxes`` (k, 4) likewise, ``labels`` (k, ).
        ignored (InstanceData): ``bboxes`` (m, 4) of crowds.

    Returns:
        tuple[int, SamplingResult]: How many proposals are positive, and those
        that are drawn.
    """
    assigned = roi_head.bbox_assigner.assign(proposals, objects, ignored)
    positive = int((assigned.gt_inds > 0).sum())  # before objects are added
    return positive, roi_head.bbox_sampler.sample(
        assigned, proposals, objects, feats=list(features)
    )


def count(assigned: int, sampled: SamplingResult) -> Taught:
    """Count what :func:`sample_rois` gives, by object."""
    owner = sampled.pos_assigned_gt_inds.long().cpu().numpy()
    added = sampled.pos_is_gt.cpu().numpy().astype(bool)
    ious = bbox_overlaps(
        sampled.pos_priors, sampled.pos_gt_bboxes, is_aligned=True
    )
    ious = ious.cpu().numpy().astype(float)

    def by_object(chosen: np.ndarray, weights: np.ndarray) -> np.ndarray:
        return np.bincount(
            owner[chosen], weights[chosen], minlength=sampled.num_gts
        )

    ones = np.ones(len(owner))
    return Taught(
        by_object(added, ones),
        by_object(~added, ones),
        by_object(~added, ious),
        assigned,
        len(sampled.neg_inds),
    )


def sampling_links(
    images: Sequence[Taught], groups: Groups
) -> Dict[str, Dict[str, Row]]:
    """What a RoI head is taught, over images.

    Args:
        images (Sequence[Taught]): One of each training image.
        groups (Groups): Of all objects of these images, in their order.

    Returns:
        dict[str, dict[str, dict[str, float]]]: By link, row and column.
    """
    boxes, proposals, ious = (
        np.concatenate([image[field] for image in images])
        for field in range(3)
    )
    positives = boxes + proposals
    number = len(images)
    return dict(
        samples={
            'of an image': {
                'assigned proposals': sum(i.assigned for i in images) / number,
                'positives': positives.sum() / number,
                'which are proposals': proposals.sum() / number,
                'which are added objects': boxes.sum() / number,
                'negatives': sum(i.negatives for i in images) / number,
            }
        },
        overlap={
            'positive proposals': groups.row(
                lambda own: _ratio(ious[own].sum(), proposals[own].sum())
            )
        },
        shares={
            name: groups.parts(lambda own, v=v: _ratio(v[own].sum(), v.sum()))
            for name, v in (
                ('objects', np.ones_like(positives)),
                ('positives', positives),
                ('positive proposals', proposals),
            )
        },
        untaught={
            'without a positive proposal': groups.row(
                lambda own: np.mean(proposals[own] == 0)
            )
        },
    )


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else np.nan
