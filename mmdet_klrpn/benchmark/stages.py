"""The two stages of a detector, run one by one."""

import copy
from typing import Iterator, Tuple

import torch
from mmcv.ops import MaskedConv2d
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmengine.structures import InstanceData
from torch import nn
from torch.utils.data import DataLoader

from ..apis import load_detector, rpn_head
from .runs import Run


class Stages:
    """A two-stage detector, or mmdet's ``RPN``, on its way through an image.

    ``roi_head`` is None if there is no second stage, and ``number`` is how
    many proposals its config asks for.

    Raises:
        ValueError: If it has no region proposal head, or one that cannot
            propose on this device.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model, self.head = model, rpn_head(model)
        self.roi_head = getattr(model, 'roi_head', None)
        # CascadeRPNHead proposes by its last stage.
        self._cfg = getattr(self.head, 'stages', [self.head])[-1].test_cfg
        self.number = int(self._cfg.max_per_img)
        check_device(self.head, next(model.parameters()).is_cuda)

    def load(self, batch: dict) -> None:
        """Preprocess a batch of one image and extract its features."""
        data = self.model.data_preprocessor(batch)
        self.samples = data['data_samples']
        self.features = self.model.extract_feat(data['inputs'])

    def propose(self, number: int) -> InstanceData:
        """The best proposals, in pixels of the network's input.

        Heads sort them and drop those behind ``max_per_img``, so the best n
        of a larger number are those that they give when asked for n.
        """
        self._cfg.max_per_img = number
        try:
            return self.head.predict(self.features, self.samples)[0]
        finally:
            self._cfg.max_per_img = self.number

    def detect(self, proposals: InstanceData) -> InstanceData:
        """Detections, in pixels of the original image."""
        return self.roi_head.predict(
            self.features, [proposals], self.samples, rescale=True
        )[0]

    @torch.no_grad()
    def run(self, batch: dict) -> InstanceData:
        """What the detector predicts for a batch of one image."""
        self.load(batch)
        proposals = self.propose(self.number)
        return self.detect(proposals) if self.roi_head else proposals


def check_device(head: nn.Module, has_gpus: bool) -> None:
    """Raise a ValueError if a head cannot propose without a GPU."""
    if not has_gpus and any(
        isinstance(m, MaskedConv2d) for m in head.modules()
    ):
        raise ValueError(
            f'{type(head).__name__} proposes by a masked convolution, which '
            'mmcv does not have on a CPU: measure this detector on a GPU, or '
            'leave it out of the plan'
        )


def open_run(
    run: Run, checkpoint: str, split: str
) -> Tuple[Config, DataLoader, Stages]:
    """Load a run's config, the images of a split, and the detector.

    Raises:
        ValueError: If the weights do not fit, or it proposes no regions.
    """
    config = Config.fromfile(run.config)
    init_default_scope(config.get('default_scope', 'mmdet'))
    loader = Runner.build_dataloader(dict(config[f'{split}_dataloader']))
    model = load_detector(copy.deepcopy(config), checkpoint, get_device())
    return config, loader, Stages(model)


def single_images(loader: DataLoader) -> Iterator[dict]:
    """Batches of one image, whatever the loader's batch is."""
    for batch in loader:
        for i in range(len(batch['inputs'])):
            yield {key: values[i : i + 1] for key, values in batch.items()}
