"""An image on its way through the two stages of a detector."""

from typing import NamedTuple, Optional, Tuple

import numpy as np
from mmdet.structures import SampleList
from mmengine.dataset import pseudo_collate
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmdet_klrpn.evaluation.split_items import Item

from .oracles import Refined


class Image(NamedTuple):
    """An image and its features."""

    features: Tuple[Tensor, ...]  # output of backbone and neck
    samples: SampleList  # one, with its meta information
    scale: Tensor  # (4, ) pixels of the input over those of the image
    bboxes: np.ndarray  # (k, 4) objects in pixels of the image
    labels: np.ndarray  # (k, ) their classes
    crowds: np.ndarray  # (m, 4)


def load_image(model: nn.Module, item: Item) -> Image:
    """Load an image and extract its features."""
    dataset, index = item
    data = model.data_preprocessor(pseudo_collate([dataset[index]]))
    features = model.extract_feat(data['inputs'])
    (sample,) = samples = data['data_samples']
    scale = features[0].new_tensor(sample.scale_factor).repeat(2)
    found = dataset.get_data_info(index)['instances']
    boxes = np.array([i['bbox'] for i in found], dtype=float).reshape(-1, 4)
    labels = np.array([i['bbox_label'] for i in found], dtype=int)
    crowd = np.array([i['ignore_flag'] for i in found], dtype=bool)
    objects = boxes[~crowd], labels[~crowd], boxes[crowd]
    return Image(features, samples, scale, *objects)


def refine(
    model: nn.Module,
    image: Image,
    proposals: Tensor,
    scores: Optional[Tensor] = None,
) -> Refined:
    """Take proposals, (n, 4) in pixels of the input, through the bbox head.

    Their scores, (n, ), are for a head that uses them.
    """
    given = InstanceData(bboxes=proposals)
    if scores is not None:
        given.scores = scores
    (raw,) = model.roi_head.predict_bbox(
        image.features,
        [sample.metainfo for sample in image.samples],
        [given],
        rcnn_test_cfg=None,
        rescale=True,
    )
    number = len(proposals)
    bboxes = raw.bboxes.reshape(number, raw.bboxes.shape[1] // 4, 4)
    # Class-agnostic regression gives one box for all classes.
    bboxes = bboxes.expand(number, model.roi_head.bbox_head.num_classes, 4)
    return Refined(proposals / image.scale, bboxes, raw.scores)
