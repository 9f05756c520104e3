"""Detectors from a config and a checkpoint."""

import re
from collections import OrderedDict
from copy import deepcopy
from pathlib import Path
from typing import Union

from mmdet.evaluation import get_classes
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import init_default_scope
from mmengine.runner import CheckpointLoader
from torch import nn

from .checkpoint_heads import watch_heads, wrong_heads
from .head_places import check_head_places


def load_detector(
    config: Union[str, Path, Config],
    checkpoint: Union[str, Path, None],
    device: str = 'cpu',
) -> nn.Module:
    """Build a detector and load a checkpoint that must have all its weights.

    Loads all that ``mmdet.apis.init_detector`` does, also nested detectors,
    but raises an error for missing weights, which that leaves random with a
    line in the log. The checkpoint's own config is not run.

    Args:
        config (str or Path or Config): The config, or its file.
        checkpoint (str or Path, optional): File or URL of the checkpoint.
            It may hold further weights, such as a second stage's. None leaves
            the weights random.
        device (str): Where to put the detector. Defaults to 'cpu'.

    Returns:
        nn.Module: The detector in evaluation mode, with ``cfg`` and
        ``dataset_meta`` as from ``init_detector``.

    Raises:
        ValueError: If the config has a KLRPNHead where it cannot be, or the
            checkpoint holds no weights, lacks one, has one of another shape,
            or has an ordinary RPN where the config has KL-RPN, or vice versa.
    """
    if not isinstance(config, Config):
        config = Config.fromfile(config)
    scope = config.get('default_scope', 'mmdet')
    if scope is not None:
        init_default_scope(scope)
    check_head_places(config.model)
    # Detectors complete the configs of their heads in place.
    model = revert_sync_batchnorm(MODELS.build(deepcopy(config.model)))
    stored: dict = {}
    if checkpoint is not None:
        stored = CheckpointLoader.load_checkpoint(
            str(checkpoint), map_location='cpu'
        )
        reason = _load(model, stored)
        if reason:
            raise ValueError(
                f'{checkpoint} does not fit '
                f'{config.filename or "the config"}: {reason}'
            )
    model.cfg = config
    model.dataset_meta = _dataset_meta(stored)
    return model.to(device).eval()


def _load(model: nn.Module, stored: object) -> str:
    """Load weights as mmengine does; raise an error if they do not fit."""
    state = stored
    if isinstance(stored, dict):
        state = stored.get('state_dict', stored)
    if not isinstance(state, dict):
        return f'it holds a {type(state).__name__}, not a dict of weights'
    weights = OrderedDict(
        (re.sub(r'^module\.', '', key), value) for key, value in state.items()
    )
    weights._metadata = getattr(state, '_metadata', OrderedDict())
    remedy = 'give the config that it was trained with'
    with watch_heads(model) as loaded:
        try:
            missing = model.load_state_dict(weights, strict=False).missing_keys
        except RuntimeError as error:  # of another shape
            return f'{error}; {remedy}'
    for key in missing:
        if not key.endswith('num_batches_tracked'):  # as in mmengine
            return f'it lacks {key}; {remedy}'
    wrong = wrong_heads(loaded, stored)
    return wrong[0].reason if wrong else ''


def _dataset_meta(stored: dict) -> dict:
    """Classes and palette of a checkpoint, or mmdet's defaults.

    No data set is built for its palette, because its files may be missing.
    """
    meta = stored.get('meta')
    meta = meta if isinstance(meta, dict) else {}
    default = dict(classes=meta.get('CLASSES') or get_classes('coco'))
    known = meta.get('dataset_meta') or default
    known = {key.lower(): value for key, value in known.items()}
    return dict(dict(palette='random'), **known)
