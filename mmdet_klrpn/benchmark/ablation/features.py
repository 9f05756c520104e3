"""The features of a data set, computed once and kept on disk."""

import json
import time
from pathlib import Path
from typing import Iterator, List, NamedTuple

import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner, set_random_seed
from mmengine.structures import InstanceData
from torch import Tensor, nn
from torch.utils.data import DataLoader

from mmdet_klrpn.apis import load_detector

from ..ground_truth import read_ground_truth
from .plan import FeatureSet
from .settings import digest, file_digest

# Of augmentation and of a backbone that nothing has trained. Seeds of an
# ablation are those of heads.
SEED = 0


class Batch(NamedTuple):
    """What a head is given.

    Attributes:
        inputs (list[Tensor]): Features per level, (N, C, H, W), in half
            precision.
        data_samples (list[DetDataSample]): Objects, all of label 0 as for an
            RPN, and meta information of each image.
    """

    inputs: List[Tensor]
    data_samples: List[DetDataSample]


class Features(NamedTuple):
    """Features of a data set.

    Attributes:
        train (list[Batch]): Of the training images, each augmented anew in
            every epoch, in the order of the epochs.
        test (list[Batch]): Of the test images.
        epochs (int): How many there are in ``train``.
        truth (dict): COCO annotations of the test images.
    """

    train: List[Batch]
    test: List[Batch]
    epochs: int
    truth: dict


def features_key(features: FeatureSet) -> str:
    """The same of all that have the same features: data, network, weights.

    Raises:
        ValueError: If the config trains by iterations and not by epochs.
    """
    config = Config.fromfile(features.config)
    epochs = config.train_cfg.get('max_epochs')
    if epochs is None:
        raise ValueError(
            f'{features.name}: {features.config} trains by iterations; an '
            'ablation needs train_cfg.max_epochs'
        )
    model = config.model
    init_cfg = model.backbone.get('init_cfg') or {}
    weights = features.checkpoint or Path(init_cfg.get('checkpoint', ''))
    return digest(
        [
            [model.get(k) for k in ('data_preprocessor', 'backbone', 'neck')],
            [config.train_dataloader, config.test_dataloader, epochs],
            file_digest(weights) if weights.is_file() else str(weights),
            Features._fields,
        ]
    )


def extract(features: FeatureSet, path: Path) -> None:
    """Compute features and keep them in a file.

    What they are is told by a file of JSON beside it.

    Args:
        features (FeatureSet): Of which config and weights.
        path (Path): The file to write.

    Raises:
        ValueError: If the neck would have random weights, or a feature is
            beyond half precision.
    """
    started = time.process_time()
    config = Config.fromfile(features.config)
    set_random_seed(SEED)
    model = _load(features, config)
    # Whatever building the network drew, images are augmented alike.
    set_random_seed(SEED)
    loader = Runner.build_dataloader(config.train_dataloader, seed=SEED)
    tester = Runner.build_dataloader(config.test_dataloader, seed=SEED)
    classes = tester.dataset.metainfo['classes']
    truth = read_ground_truth(config, classes)
    epochs = config.train_cfg.max_epochs
    found = Features(
        [
            batch
            for epoch in range(epochs)
            for batch in _batches(model, loader, epoch)
        ],
        list(_batches(model, tester)),
        epochs,
        truth,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix('.part')
    torch.save(found._asdict(), part)
    description = dict(
        classes=list(classes),
        epochs=epochs,
        steps=len(found.train),
        train_images=len(loader.dataset),
        test_images=len(truth['images']),
        test_objects=len(truth['annotations']),
        levels=[list(level.shape[1:]) for level in found.test[0].inputs],
        seconds=time.process_time() - started,
    )
    path.with_suffix('.json').write_text(json.dumps(description, indent=1))
    # Last, since it says that all is there.
    part.replace(path)


def load_features(path: Path) -> Features:
    """Read what :func:`extract` has written."""
    # They hold data samples, beyond what torch>=2.6 loads by default.
    return Features(**torch.load(path, map_location='cpu', weights_only=False))


def _load(features: FeatureSet, config: Config) -> nn.Module:
    """The detector, in evaluation mode."""
    if features.checkpoint is not None:
        return load_detector(config, str(features.checkpoint))
    if config.model.get('neck') is not None:
        raise ValueError(
            f'{features.name}: the neck of {features.config} is not '
            'pretrained, and its features would be random; give the '
            'checkpoint of a trained detector'
        )
    init_default_scope(config.get('default_scope', 'mmdet'))
    model = MODELS.build(config.model)
    model.init_weights()
    return model.eval()


@torch.no_grad()
def _batches(
    model: nn.Module, loader: DataLoader, epoch: int = 0
) -> Iterator[Batch]:
    """Features of an epoch; of the test images too, that have but one."""
    loader.sampler.set_epoch(epoch)
    for data in loader:
        data = model.data_preprocessor(data)
        levels = [x.half() for x in model.extract_feat(data['inputs'])]
        if not all(torch.isfinite(level).all() for level in levels):
            raise ValueError('features are beyond the range of float16')
        yield Batch(levels, [_slim(s) for s in data['data_samples']])


def _slim(sample: DetDataSample) -> DetDataSample:
    """A data sample with no more than boxes."""
    slim = DetDataSample(metainfo=sample.metainfo)
    boxes = sample.gt_instances.bboxes
    slim.gt_instances = InstanceData(
        bboxes=boxes, labels=torch.zeros(len(boxes), dtype=torch.long)
    )
    if 'ignored_instances' in sample:
        ignored = sample.ignored_instances.bboxes
        slim.ignored_instances = InstanceData(bboxes=ignored)
    return slim
