"""The features of a data set, computed once and kept on disk."""

import os
from functools import lru_cache
from pathlib import Path
from typing import Iterator, Optional

import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner, set_random_seed
from mmengine.structures import InstanceData
from torch import nn
from torch.utils.data import DataLoader

from mmdet_klrpn.apis import load_detector
from mmdet_klrpn.benchmark.ground_truth import read_ground_truth

# Seed of augmentation, whatever the seeds of heads.
SEED = 0


def extract(config: Config, checkpoint: Optional[str], path: Path) -> None:
    """Compute features and keep them in a file.

    A dict: ``train``, batches of all epochs in their order, for which images
    are augmented anew in every epoch; ``test``, batches of the test images;
    ``epochs``, their number; ``truth``, COCO annotations of the test images.
    A batch has ``inputs``, features per level, (N, C, H, W), in half
    precision, and ``data_samples``.
    """
    set_random_seed(SEED)
    if checkpoint:
        model = load_detector(config, checkpoint)
    else:
        init_default_scope(config.get('default_scope', 'mmdet'))
        model = MODELS.build(config.model)
        model.init_weights()
        model.eval()
    # Images are augmented alike whatever random numbers the network drew.
    set_random_seed(SEED)
    train = Runner.build_dataloader(config.train_dataloader, seed=SEED)
    test = Runner.build_dataloader(config.test_dataloader, seed=SEED)
    epochs = range(config.train_cfg.max_epochs)
    features = dict(
        train=[b for i in epochs for b in _batches(model, train, i)],
        test=list(_batches(model, test)),
        epochs=len(epochs),
        truth=read_ground_truth(config, test.dataset.metainfo['classes']),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f'.{os.getpid()}')
    torch.save(features, str(part))
    part.replace(path)  # whole as soon as it is there


@lru_cache(maxsize=1)  # consecutive trainings share their features
def load_features(path: Path) -> dict:
    """Read what :func:`extract` has written."""
    # torch>=2.6 loads no data samples by default.
    return torch.load(path, map_location='cpu', weights_only=False)


@torch.no_grad()
def _batches(
    model: nn.Module, loader: DataLoader, epoch: int = 0
) -> Iterator[dict]:
    loader.sampler.set_epoch(epoch)
    for data in loader:
        data = model.data_preprocessor(data)
        levels = [x.half() for x in model.extract_feat(data['inputs'])]
        if not all(torch.isfinite(level).all() for level in levels):
            raise ValueError('features are beyond the range of float16')
        for sample in data['data_samples']:
            # Boxes alone, of the only label that an RPN knows.
            boxes = sample.gt_instances.bboxes
            labels = torch.zeros(len(boxes), dtype=torch.long)
            sample.gt_instances = InstanceData(bboxes=boxes, labels=labels)
        yield dict(inputs=levels, data_samples=data['data_samples'])
