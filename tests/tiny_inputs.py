"""Two tiny images, or frames, for any of mmdet's two-stage detectors."""

from typing import List

import numpy as np
import torch
from mmdet.models import (
    BaseMOTModel,
    DetDataPreprocessor,
    SemiBaseDetector,
    TrackDataPreprocessor,
)
from mmdet.testing import demo_mm_inputs, demo_track_inputs
from torch import Tensor, nn

SHAPE = (3, 128, 128)
# A batch norm over one value per channel cannot train: hence two images.
BATCH = 2
NORMALIZE = dict(mean=[127.5] * 3, std=[64.0] * 3, pad_mask=True)


def tiny_loss(model: nn.Module, objects: int) -> dict:
    """Losses on noise with so many objects in each image.

    Of a tracker without a loss they are its detector's.
    """
    if isinstance(model, SemiBaseDetector):
        branches = {
            name: images(objects)
            for name in ('sup', 'unsup_teacher', 'unsup_student')
        }
        return model.loss(
            {name: data['inputs'] for name, data in branches.items()},
            {name: data['data_samples'] for name, data in branches.items()},
        )
    if isinstance(model, BaseMOTModel):
        if not hasattr(model, 'track_head'):  # SORT: mmdet trains its parts
            return tiny_loss(model.detector, objects)
        data = _frames(objects)
    else:
        data = images(objects)
    return model.loss(data['inputs'], data['data_samples'])


@torch.no_grad()
def tiny_prediction(model: nn.Module) -> List[Tensor]:
    """Boxes predicted on noise for each image; a panoptic one's segments."""
    if isinstance(model, BaseMOTModel):
        data = _frames(1)
        (video,) = model.predict(data['inputs'], data['data_samples'])
        return [frame.pred_track_instances.bboxes for frame in video]
    data = images(1)
    samples = model.predict(data['inputs'], data['data_samples'])
    if 'pred_panoptic_seg' in samples[0]:
        return [sample.pred_panoptic_seg.sem_seg for sample in samples]
    return [sample.pred_instances.bboxes for sample in samples]


def images(objects: int) -> dict:
    """A batch of images, with masks and a semantic map."""
    data = demo_mm_inputs(
        BATCH,
        SHAPE,
        num_items=[objects] * BATCH,
        num_classes=2,
        with_mask=True,
        with_semantic=True,
    )
    for sample in data['data_samples']:
        # Detectors of a single class know no other label.
        sample.gt_instances.labels.zero_()
        identity = np.eye(3, dtype=np.float32)
        sample.set_metainfo(dict(homography_matrix=identity))
    return DetDataPreprocessor(**NORMALIZE)(data, training=True)


def _frames(objects: int) -> dict:
    """A video of two frames, the first of which is the key frame."""
    data = demo_track_inputs(
        num_frames=2,
        key_frames_inds=[0],
        image_shapes=SHAPE,
        num_items=[objects],
        with_mask=True,
    )
    return TrackDataPreprocessor(**NORMALIZE)(data, training=True)
