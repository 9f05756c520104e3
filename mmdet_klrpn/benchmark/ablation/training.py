"""Train a region proposal head on features that do not change."""

from typing import List

import torch
from mmengine.config import ConfigDict
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.registry import PARAM_SCHEDULERS
from mmengine.runner import set_random_seed
from torch import Tensor, nn

from ..recall import ObjectRanks, rank_objects
from .features import Features
from .figures import NUMBERS
from .settings import Settings, build_head


class HeadAlone(BaseModel):
    """A region proposal head as a model of mmengine's.

    Args:
        head (nn.Module): An RPNHead.
    """

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(
        self, inputs: List[Tensor], data_samples: list, mode: str
    ) -> object:
        """Losses in the mode 'loss', proposals in 'predict'.

        Args:
            inputs (list[Tensor]): Features per level, (N, C, H, W).
            data_samples (list[DetDataSample]): Of each image.
            mode (str): Which of the two.
        """
        levels = tuple(level.float() for level in inputs)
        if mode == 'loss':
            return self.head.loss(levels, data_samples)
        return self.head.predict(levels, data_samples, rescale=True)


def train_head(features: Features, settings: Settings, seed: int) -> HeadAlone:
    """Train a head.

    Args:
        features (Features): What it is given.
        settings (Settings): Of head, optimizer and schedule.
        seed (int): Of initial weights, order of the batches, and sampling.

    Raises:
        FloatingPointError: If the loss is not finite.
    """
    set_random_seed(seed)
    model = HeadAlone(build_head(settings))
    model.init_weights()
    # Whatever the initial weights drew, heads see batches in one order.
    set_random_seed(seed)
    order = torch.randperm(len(features.train)).tolist()
    optimizer = build_optim_wrapper(model, ConfigDict(settings.optim_wrapper))
    epoch_length = len(features.train) // features.epochs
    schedulers = _schedulers(settings, optimizer, epoch_length, features)
    model.train()
    for step, i in enumerate(order, 1):
        losses = model.train_step(features.train[i]._asdict(), optimizer)
        if not torch.isfinite(losses['loss']):
            raise FloatingPointError(
                f'the loss is {losses["loss"].item()} at step {step}: lower '
                'the learning rate'
            )
        for scheduler in schedulers:
            if not scheduler.by_epoch or step % epoch_length == 0:
                scheduler.step()
    return model.eval()


@torch.no_grad()
def evaluate_head(
    model: HeadAlone, features: Features, test_cfg: dict
) -> ObjectRanks:
    """Match a head's proposals with the objects of the test images.

    Args:
        model (HeadAlone): Trained.
        features (Features): Of the test images.
        test_cfg (dict): Top-k and NMS. As many proposals as recall needs are
            kept, whatever its ``max_per_img``.
    """
    model.head.test_cfg = ConfigDict(test_cfg, max_per_img=max(NUMBERS))
    predictions = []
    for batch in features.test:
        results = model.test_step(batch._asdict())
        for sample, proposals in zip(batch.data_samples, results):
            prediction = dict(
                img_id=sample.img_id,
                bboxes=proposals.bboxes.numpy(),
                scores=proposals.scores.numpy(),
            )
            predictions.append(prediction)
    return rank_objects(features.truth, predictions, max(NUMBERS))


def _schedulers(
    settings: Settings,
    optimizer: OptimWrapper,
    epoch_length: int,
    features: Features,
) -> list:
    """Schedulers, as mmengine's Runner builds them."""
    built = []
    for config in settings.param_scheduler:
        by_epoch = config.get('by_epoch', True)
        end = features.epochs if by_epoch else len(features.train)
        built.append(
            PARAM_SCHEDULERS.build(
                {'end': end, **config},
                default_args=dict(
                    optimizer=optimizer, epoch_length=epoch_length
                ),
            )
        )
    return built
