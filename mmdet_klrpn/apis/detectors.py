"""Detectors from a config and a checkpoint."""

from typing import Union

from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import init_default_scope
from mmengine.runner import CheckpointLoader
from torch import nn


def load_detector(
    config: Union[str, Config], checkpoint: str, device: str = 'cpu'
) -> nn.Module:
    """Build a detector and load a checkpoint that must have all its weights.

    Unlike ``mmdet.apis.init_detector``, which leaves what a checkpoint lacks
    at its random values with no more than a line in the log.

    Args:
        config (str or Config): The config, or its file.
        checkpoint (str): File of the checkpoint. More than the detector's
            weights may be in it, such as those of a second stage.
        device (str): Where to put the detector. Defaults to 'cpu'.

    Returns:
        nn.Module: The detector in evaluation mode, with its config in ``cfg``.

    Raises:
        ValueError: If the checkpoint lacks a weight, has one of another
            shape, or is, as its own config says, of an ordinary RPN where the
            config has KL-RPN, or the other way round.
    """
    if not isinstance(config, Config):
        config = Config.fromfile(config)
    init_default_scope(config.get('default_scope', 'mmdet'))
    model = revert_sync_batchnorm(MODELS.build(config.model))
    stored = CheckpointLoader.load_checkpoint(checkpoint, map_location='cpu')
    state = stored.get('state_dict', stored)
    reason = _other_head(config, stored)
    try:
        missing = model.load_state_dict(state, strict=False).missing_keys
        reason = f'it lacks {missing[0]}' if missing else reason
    except RuntimeError as error:  # of another shape
        reason = str(error)
    if reason:
        raise ValueError(
            f'{checkpoint} does not fit {config.filename}: {reason}; give '
            'the config that it was trained with'
        )
    model.cfg = config
    return model.to(device).eval()


def _other_head(config: Config, checkpoint: dict) -> str:
    """What tells the heads apart, whose weights may have the same shapes."""
    text = checkpoint.get('meta', {}).get('cfg')
    if not isinstance(text, str):
        return ''
    trained = Config.fromstring(text, '.py')
    types = [
        str(each.model.get('rpn_head', {}).get('type')).split('.')[-1]
        for each in (trained, config)
    ]
    if types.count('KLRPNHead') != 1:
        return ''
    return f'it was trained with {types[0]} in the place of {types[1]}'
