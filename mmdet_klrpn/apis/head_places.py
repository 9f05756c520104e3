"""Where in a model's config a KLRPNHead can be."""

from typing import Sequence, Union

from mmdet.models.detectors import RPN
from mmdet.registry import MODELS

REMEDY = (
    'which proposes regions: it takes the place of an RPNHead, as rpn_head of '
    'a two-stage detector or as bbox_head of the detector RPN'
)


def check_head_places(
    model: Union[dict, Sequence, object], place: str = 'model'
) -> None:
    """Raise an error if a KLRPNHead is used as a head of another kind.

    Args:
        model (dict | Sequence | object): Config of a model, or a part of it.
        place (str): Dotted keys that lead to it. Defaults to 'model'.

    Raises:
        ValueError: If it is, for example, a stage of Cascade RPN, the head of
            a one-stage detector, or part of an RoI head.
    """
    parts = []
    if isinstance(model, dict):
        parts = list(model.items())
    elif isinstance(model, (list, tuple)):
        parts = list(enumerate(model))
    for key, part in parts:
        name = part.get('type') if isinstance(part, dict) else None
        is_kl_rpn = getattr(name, '__name__', str(name)).endswith('KLRPNHead')
        if is_kl_rpn and not (key == 'rpn_head' or _is_rpn(model, key)):
            raise ValueError(f'{place}.{key}.type is KLRPNHead, {REMEDY}')
        check_head_places(part, f'{place}.{key}')


def _is_rpn(detector: dict, key: str) -> bool:
    """Whether that place of a detector takes a region proposal head."""
    kind = detector.get('type') if key == 'bbox_head' else None
    kind = MODELS.get(kind) if isinstance(kind, str) else kind
    return isinstance(kind, type) and issubclass(kind, RPN)
