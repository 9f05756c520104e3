"""What the first stage gives the RoI head to learn from."""

from typing import Sequence, Tuple

import numpy as np
import pandas as pd
import torch
from mmdet.structures.bbox import bbox_overlaps
from mmengine.structures import InstanceData
from object_groups import group_rates
from torch import nn

from mmdet_klrpn.evaluation.split_items import Item

from .image import Image, load_image


@torch.no_grad()
def sampling_links(
    model: nn.Module,
    items: Sequence[Item],
    classes: Sequence[str],
    edges: np.ndarray,
) -> Tuple[pd.DataFrame, int]:
    """Measure the RoI head's samples of training images.

    Images are not augmented, and weights are the trained ones: these are the
    samples of the last steps of a training. Draws are seeded. Classes are the
    names of labels, and (3, ) edges those of the objects' sizes.

    Returns:
        tuple[pd.DataFrame, int]: ``link``, ``row``, ``group`` and ``value``;
        and the number of objects.
    """
    with torch.random.fork_rng():
        torch.manual_seed(0)
        images, objects = zip(
            *(sample_rois(model, load_image(model, item)) for item in items)
        )
    table = pd.concat(objects)
    groups = np.array(classes)[table['label']], table['size'], edges
    proposals, ones = table['proposals'].to_numpy(), np.ones(len(table))
    rates = {
        'IoU of positive proposals': (table['ious'].to_numpy(), proposals),
        'objects without one': (proposals == 0, ones),
    }
    rows = [
        group_rates(*rate, *groups).assign(link='samples by object', row=row)
        for row, rate in rates.items()
    ]
    means = pd.DataFrame(images).mean().rename('value').rename_axis('group')
    rows.append(means.reset_index().assign(link='samples', row='of an image'))
    return pd.concat(rows), len(table)


def sample_rois(model: nn.Module, image: Image) -> Tuple[dict, pd.DataFrame]:
    """Propose, assign and sample as in training.

    Returns:
        tuple[dict, pd.DataFrame]: Numbers of samples; and of each object the
        ``label``, the ``size`` and, of positive samples that are proposals,
        the number ``proposals`` and the sum of their IoUs, ``ious``.
    """
    (found,) = model.rpn_head.predict_by_feat(
        *model.rpn_head(image.features),
        batch_img_metas=[sample.metainfo for sample in image.samples],
        cfg=model.train_cfg.get('rpn_proposal', model.test_cfg.rpn),
    )
    proposals = InstanceData(priors=found.bboxes, scores=found.scores)
    scale, head = image.scale, model.roi_head
    gt_instances = InstanceData(
        bboxes=scale.new_tensor(image.bboxes) * scale,
        labels=torch.from_numpy(image.labels).to(scale.device),
    )
    ignored = InstanceData(bboxes=scale.new_tensor(image.crowds) * scale)
    assigned = head.bbox_assigner.assign(proposals, gt_instances, ignored)
    positives = int((assigned.gt_inds > 0).sum())  # before objects are added
    drawn = head.bbox_sampler.sample(
        assigned, proposals, gt_instances, feats=list(image.features)
    )
    own = ~drawn.pos_is_gt.bool().cpu().numpy()
    owner = drawn.pos_assigned_gt_inds.long().cpu().numpy()[own]
    pairs = drawn.pos_priors, drawn.pos_gt_bboxes
    ious = bbox_overlaps(*pairs, is_aligned=True).cpu().numpy()[own]
    counts = {
        'assigned proposals': positives,
        'positives': len(own),
        'which are proposals': own.sum(),
        'which are added objects': (~own).sum(),
        'negatives': len(drawn.neg_inds),
    }
    sides = image.bboxes[:, 2:] - image.bboxes[:, :2]
    objects = dict(
        label=image.labels,
        size=np.sqrt(np.prod(sides, axis=1)),
        proposals=np.bincount(owner, minlength=len(sides)),
        ious=np.bincount(owner, ious, len(sides)),
    )
    return counts, pd.DataFrame(objects)
