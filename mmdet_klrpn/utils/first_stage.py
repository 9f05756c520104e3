"""Run the first stage of a detector alone, and compare it with the objects."""

import sys
from typing import Iterator, List, Tuple, Union

import numpy as np
import torch
from mmdet.apis import init_detector
from mmdet.models.dense_heads.anchor_head import AnchorHead
from mmdet.models.detectors import RPN
from mmdet.registry import DATASETS
from mmdet.structures.bbox import get_box_tensor
from mmdet.utils import get_test_pipeline_cfg
from mmengine.config import Config, ConfigDict
from mmengine.dataset import BaseDataset, pseudo_collate
from mmengine.device import get_device
from mmengine.structures import InstanceData
from mmengine.utils import track_iter_progress
from torch import nn

from mmdet_klrpn.evaluation.functional import (
    ProposalErrors,
    concatenate,
    proposal_errors,
)

Item = Tuple[BaseDataset, int]


class FirstStage:
    """The first stage of a two-stage detector, or an RPN detector.

    Args:
        config (str): File of the config.
        checkpoint (str): File of the trained weights.

    Attributes:
        config (Config): The config.
        head (AnchorHead): The head that proposes.

    Raises:
        ValueError: If the detector has no region proposal network.
    """

    def __init__(self, config: str, checkpoint: str) -> None:
        self.config = Config.fromfile(config)
        self._model = init_detector(
            # It changes the config that it is given.
            Config.fromfile(config),
            str(checkpoint),
            device=get_device(),
        )
        self.head = _rpn_head(self._model)

    @torch.no_grad()
    def propose(self, data: dict) -> InstanceData:
        """Proposals of one item of a data set.

        Args:
            data (dict): As the test pipeline packs it.

        Returns:
            InstanceData: In pixels of the original image.
        """
        batch = self._model.data_preprocessor(pseudo_collate([data]))
        features = self._model.extract_feat(batch['inputs'])
        (proposals,) = self.head.predict(
            features, batch['data_samples'], rescale=True
        )
        return proposals.cpu()

    def errors(
        self, split: str, num_proposals: int, max_images: int
    ) -> ProposalErrors:
        """Hits and errors over a data set, seen without augmentation.

        Args:
            split (str): 'train' or 'test', the dataloader whose images to
                take. Both go through the test pipeline.
            num_proposals (int): How many proposals of an image to take, the
                best by score.
            max_images (int): How many images to take, evenly spread.

        Returns:
            ProposalErrors: Of all images in one.

        Raises:
            ValueError: If the data set has no image, or none is to be taken.
        """
        for name, value in (
            ('num_proposals', num_proposals),
            ('max_images', max_images),
        ):
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
            proposals = self.propose(dataset[index])
            images.append(
                _errors(proposals, dataset.get_data_info(index), num_proposals)
            )
        return concatenate(images)

    def items(self, split: str) -> List[Item]:
        """Every image of a dataloader's data sets, once, as in a test.

        Args:
            split (str): 'train' or 'test'.

        Returns:
            list[tuple[BaseDataset, int]]: Data set and index of each image.
        """
        config = self.config.copy()
        pipeline = get_test_pipeline_cfg(config)
        items = []
        for leaf in _leaves(config[f'{split}_dataloader'].dataset):
            dataset = DATASETS.build(ConfigDict(leaf, pipeline=pipeline))
            items += [(dataset, index) for index in range(len(dataset))]
        return items


def _rpn_head(model: nn.Module) -> AnchorHead:
    """The head that proposes."""
    if getattr(model, 'with_rpn', False):
        return model.rpn_head
    if isinstance(model, RPN):
        return model.bbox_head
    raise ValueError(
        f'model.type must be RPN or a detector with an rpn_head, but got '
        f'{type(model).__name__}'
    )


def _leaves(dataset: ConfigDict) -> Iterator[ConfigDict]:
    """Data sets inside of wrappers that repeat, join or mix them."""
    inner: Union[list, tuple] = dataset.get('datasets', ())
    if 'dataset' in dataset:
        inner = [dataset['dataset']]
    if not inner:
        yield dataset
    for part in inner:
        yield from _leaves(part)


def _errors(
    proposals: InstanceData, info: dict, num_proposals: int
) -> ProposalErrors:
    """Hits and errors of an image, ``info`` of which has the objects."""
    objects = [instance['bbox'] for instance in info['instances']]
    ignored = [instance['ignore_flag'] for instance in info['instances']]
    stds = proposals.get('bbox_stds')
    return proposal_errors(
        get_box_tensor(proposals.bboxes).numpy(),
        proposals.scores.numpy(),
        None if stds is None else stds.numpy(),
        np.array(objects, dtype=float).reshape(-1, 4),
        np.array(ignored, dtype=bool),
        max_num=num_proposals,
    )
