"""Errors of the proposals or detections of a detector, over a data set."""

import sys
from pathlib import Path
from typing import List, Optional, Tuple, Union

import numpy as np
import torch
from mmdet.structures.bbox import get_box_tensor
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.device import get_device
from mmengine.structures import InstanceData
from mmengine.utils import track_iter_progress
from torch import nn

from mmdet_klrpn.apis import (
    load_detector,
    predicting_detector,
    propose,
    rpn_head,
)
from mmdet_klrpn.models import KLBBoxMixin, KLRPNHead
from mmdet_klrpn.utils.conversion import find_rpn_head

from .functional import ProposalErrors, concatenate, proposal_errors
from .split_items import Item, split_items

# With 10 boxes and independent edges, the standard error of the factor on the
# stds is 1 / sqrt(2 * 4 * 10) = 11%.
LEAST_ON_OBJECTS = 10


class FirstStageErrors:
    """Proposals of a detector's first stage, compared with the objects.

    Args:
        config (str or Path or Config): The config, or its file.
        checkpoint (str): File of the trained weights.
        device (str, optional): Where to run it. Defaults to a GPU if there is
            one.
        score_thr (float): Boxes with a smaller score are left out. Defaults
            to 0.

    Attributes:
        config (Config): The config.
        model (nn.Module): A two-stage detector, or an RPN detector.
        head (nn.Module): The head whose boxes they are.
        place (tuple[str]): Keys that lead to that head's config.
        has_stds (bool): Whether the head predicts stds.
        boxes (str): What is compared: 'proposals' or 'detections'.
        split (str): The split to fit ``std_scale`` on if none is asked for.

    Raises:
        ValueError: If the detector has no region proposal head, or the
            checkpoint does not fit.
    """

    boxes, example = 'proposals', 'KLRPNHead'
    split = 'train'
    by_class = False

    def __init__(
        self,
        config: Union[str, Path, Config],
        checkpoint: str,
        device: Optional[str] = None,
        score_thr: float = 0.0,
    ) -> None:
        if not isinstance(config, Config):
            config = Config.fromfile(config)
        self.config, self.score_thr = config, score_thr
        device = device or get_device()
        self.model = load_detector(config, str(checkpoint), device)
        self.head, self.place = self._find_head()
        self.has_stds = isinstance(self.head, (KLRPNHead, KLBBoxMixin))

    def _find_head(self) -> Tuple[nn.Module, Tuple[str, ...]]:
        """Find the head and its place, or raise before the data is read."""
        return rpn_head(self.model), tuple(find_rpn_head(self.config))

    def _predict(self, batch: dict) -> InstanceData:
        """Boxes of a batch of one image, in its pixels."""
        (stage,) = propose(self.model, batch)
        return stage.proposals

    def errors(
        self, split: str, max_boxes: int, max_images: int
    ) -> ProposalErrors:
        """Hits and errors over a data set, without augmentation.

        Args:
            split (str): Dataloader of the images, 'train', 'val' or 'test'.
                All go through the test pipeline.
            max_boxes (int): Number of boxes per image, the best by score.
            max_images (int): Most images to take, evenly spread.

        Returns:
            ProposalErrors: Those of all images.

        Raises:
            ValueError: If no image is taken, or too few boxes are on an object
                to judge their stds.
        """
        for name, value in (('top', max_boxes), ('images', max_images)):
            if value < 1:
                raise ValueError(f'{name} must be >= 1, but got {value}')
        items = self.items(split)
        if not items:
            raise ValueError(f'{split}_dataloader.dataset has no image')
        count = min(max_images, len(items))
        chosen = np.linspace(0, len(items) - 1, count).round().astype(int)
        images = []
        for i in track_iter_progress(chosen.tolist(), file=sys.stderr):
            dataset, index = items[i]
            found = self._predict(pseudo_collate([dataset[index]])).cpu()
            info = dataset.get_data_info(index)
            found = found[found.scores >= self.score_thr]
            images.append(self._compare(found, info, max_boxes))
        errors = concatenate(images)
        on_objects = int(errors.hits.sum())
        if self.has_stds and on_objects < LEAST_ON_OBJECTS:
            raise ValueError(
                f'only {on_objects} of {len(errors.hits)} {self.boxes} are on '
                f'an object of the {count} images of {split}_dataloader, and '
                f'{LEAST_ON_OBJECTS} are needed: take a trained checkpoint, '
                'or more --images, or more boxes of each by --top'
            )
        return errors

    def items(self, split: str) -> List[Item]:
        """List the images of a dataloader, see :func:`split_items`."""
        return split_items(self.config, split)

    def _compare(
        self, found: InstanceData, info: dict, max_boxes: int
    ) -> ProposalErrors:
        """Hits and errors of an image with the objects of ``info``."""
        objects = info['instances']
        boxes = [instance['bbox'] for instance in objects]
        ignored = [instance['ignore_flag'] for instance in objects]
        labels = None
        if self.by_class:
            own = [instance['bbox_label'] for instance in objects]
            labels = found.labels.numpy(), np.array(own, dtype=int)
        stds = found.get('bbox_stds')
        return proposal_errors(
            get_box_tensor(found.bboxes).numpy(),
            found.scores.numpy(),
            None if stds is None else stds.numpy(),
            np.array(boxes, dtype=float).reshape(-1, 4),
            np.array(ignored, dtype=bool),
            max_num=max_boxes,
            labels=labels,
        )


class SecondStageErrors(FirstStageErrors):
    """Final detections, each compared with the objects of its class.

    Args and attributes are those of :class:`FirstStageErrors`. A detector
    fits the images that it was trained on too well for a factor.

    Raises:
        ValueError: If the detector has no second stage with a box head.
    """

    boxes, example = 'detections', 'KLBBoxHead'
    split = 'val'
    by_class = True

    def _find_head(self) -> Tuple[nn.Module, Tuple[str, ...]]:
        detector = predicting_detector(self.model)
        head = getattr(getattr(detector, 'roi_head', None), 'bbox_head', None)
        if head is None:
            raise ValueError(
                f'a {type(detector).__name__} has no roi_head.bbox_head to '
                'detect: take a two-stage detector'
            )
        if isinstance(head, nn.ModuleList):
            head = head[-1]
        place = tuple(find_rpn_head(self.config))[:-1]
        return head, (*place, 'roi_head', 'bbox_head')

    @torch.no_grad()
    def _predict(self, batch: dict) -> InstanceData:
        (sample,) = self.model.test_step(batch)
        return sample.pred_instances


STAGES = dict(proposals=FirstStageErrors, detections=SecondStageErrors)
