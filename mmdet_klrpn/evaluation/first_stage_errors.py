"""Errors of the proposals of a detector, over a data set."""

import sys
from pathlib import Path
from typing import List, Optional, Union

import numpy as np
from mmdet.structures.bbox import get_box_tensor
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.device import get_device
from mmengine.structures import InstanceData
from mmengine.utils import track_iter_progress

from mmdet_klrpn.apis import load_detector, propose, rpn_head
from mmdet_klrpn.models import KLRPNHead

from .functional import ProposalErrors, concatenate, proposal_errors
from .split_items import Item, split_items

# With 10 proposals and independent edges, the standard error of the factor on
# the stds is 1 / sqrt(2 * 4 * 10) = 11%.
LEAST_ON_OBJECTS = 10


class FirstStageErrors:
    """Proposals of a detector's first stage, compared with the objects.

    Args:
        config (str or Path or Config): The config, or its file.
        checkpoint (str): File of the trained weights.
        device (str, optional): Where to run it. Defaults to a GPU if there is
            one.

    Attributes:
        config (Config): The config.
        model (nn.Module): A two-stage detector, or an RPN detector.

    Raises:
        ValueError: If the detector has no region proposal head, or the
            checkpoint does not fit.
    """

    def __init__(
        self,
        config: Union[str, Path, Config],
        checkpoint: str,
        device: Optional[str] = None,
    ) -> None:
        if not isinstance(config, Config):
            config = Config.fromfile(config)
        self.config = config
        device = device or get_device()
        self.model = load_detector(config, str(checkpoint), device)
        rpn_head(self.model)  # raises an error before the data is read

    def errors(
        self, split: str, num_proposals: int, max_images: int
    ) -> ProposalErrors:
        """Hits and errors over a data set, without augmentation.

        Args:
            split (str): Dataloader of the images, 'train' or 'test'. Both go
                through the test pipeline.
            num_proposals (int): Number of proposals per image, the best by
                score.
            max_images (int): Most images to take, evenly spread.

        Returns:
            ProposalErrors: Those of all images.

        Raises:
            ValueError: If no image is taken, or too few of KL-RPN's proposals
                are on an object to judge their stds.
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
            (stage,) = propose(self.model, pseudo_collate([dataset[index]]))
            info = dataset.get_data_info(index)
            images.append(_errors(stage.proposals.cpu(), info, num_proposals))
        found = concatenate(images)
        on_objects = int(found.hits.sum())
        is_kl_rpn = isinstance(rpn_head(self.model), KLRPNHead)
        if is_kl_rpn and on_objects < LEAST_ON_OBJECTS:
            raise ValueError(
                f'only {on_objects} of {len(found.hits)} proposals are on an '
                f'object of the {count} images of {split}_dataloader, and '
                f'{LEAST_ON_OBJECTS} are needed: take a trained checkpoint, '
                'or more --images, or more proposals of each by --top'
            )
        return found

    def items(self, split: str) -> List[Item]:
        """List the images of a dataloader, see :func:`split_items`."""
        return split_items(self.config, split)


def _errors(
    proposals: InstanceData, info: dict, num_proposals: int
) -> ProposalErrors:
    """Hits and errors of an image with the objects of ``info``."""
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
