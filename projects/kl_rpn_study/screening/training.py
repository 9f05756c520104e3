"""Train a region proposal head on features that do not change."""

from typing import List

import pandas as pd
import torch
from mmdet.registry import MODELS
from mmengine.config import Config, ConfigDict
from mmengine.model import BaseModel
from mmengine.optim import build_optim_wrapper
from mmengine.registry import PARAM_SCHEDULERS, init_default_scope
from mmengine.runner import set_random_seed
from torch import Tensor, nn

from .recall import RECALL_NUMBERS, recall_rates


class HeadAlone(BaseModel):
    """An RPNHead as one of mmengine's models."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(
        self, inputs: List[Tensor], data_samples: list, mode: str
    ) -> object:
        """Losses in the mode 'loss', else proposals.

        Inputs are features per level, (N, C, H, W), and samples one of each
        image.
        """
        levels = tuple(level.float() for level in inputs)
        if mode == 'loss':
            return self.head.loss(levels, data_samples)
        return self.head.predict(levels, data_samples, rescale=True)


def build_head(config: Config) -> nn.Module:
    """Build the head as a two-stage detector does."""
    init_default_scope(config.get('default_scope', 'mmdet'))
    model = config.model
    cfgs = dict(train_cfg=model.train_cfg.rpn, test_cfg=model.test_cfg.rpn)
    return MODELS.build(dict(model.rpn_head, **cfgs))


def train_head(features: dict, config: Config, seed: int) -> HeadAlone:
    """Train a head.

    Args:
        features (dict): Batches, see :func:`extract`.
        config (Config): Head, optimizer and schedule.
        seed (int): Seed of initial weights, order of batches, and sampling.

    Raises:
        FloatingPointError: If the loss is not finite.
    """
    set_random_seed(seed)
    model = HeadAlone(build_head(config))
    model.init_weights()
    # All heads see batches in one order, whatever their weights drew.
    set_random_seed(seed)
    order = torch.randperm(len(features['train'])).tolist()
    optimizer = build_optim_wrapper(model, config.optim_wrapper)
    epoch_length = len(order) // features['epochs']
    schedules = config.get('param_scheduler') or []
    schedulers = []
    for schedule in schedules if isinstance(schedules, list) else [schedules]:
        # As mmengine's Runner builds them.
        by_epoch = schedule.get('by_epoch', True)
        end = features['epochs'] if by_epoch else len(order)
        schedule = PARAM_SCHEDULERS.build(
            {'end': end, **schedule},
            default_args=dict(optimizer=optimizer, epoch_length=epoch_length),
        )
        schedulers.append(schedule)
    model.train()
    for step, i in enumerate(order, 1):
        losses = model.train_step(features['train'][i], optimizer)
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
    model: HeadAlone, features: dict, test_cfg: ConfigDict, second_look: dict
) -> pd.DataFrame:
    """Recall of its proposals; ``max_per_img`` is what that needs."""
    for name, value in second_look.items():
        setattr(model.head.second_look, name, value)
    number = max(RECALL_NUMBERS)
    model.head.test_cfg = ConfigDict(test_cfg, max_per_img=number)
    predictions = []
    for batch in features['test']:
        results = model.test_step(batch)
        for sample, found in zip(batch['data_samples'], results):
            boxes, scores = found.bboxes.numpy(), found.scores.numpy()
            predictions.append(
                dict(img_id=sample.img_id, bboxes=boxes, scores=scores)
            )
    return recall_rates(features['truth'], predictions)
