"""Check whether a checkpoint was trained with the model's RPN head.

The weights of an RPNHead and of a KLRPNHead have the same names and shapes.
A KLRPNHead saves its ``std_range`` with them. Older checkpoints are told apart
by the text of their config, which is searched and never run.
"""

import re
from contextlib import contextmanager
from typing import Iterator, List, NamedTuple, Sequence, Set

from mmdet.models.dense_heads import RPNHead
from mmengine.config import Config
from torch import nn
from torch.utils.hooks import RemovableHandle

from mmdet_klrpn.models import KLRPNHead

_PLAIN_HEADS = {'RPNHead', 'SparseRPNHead'}
# Also in a dict or in JSON, with a scope or module before the name.
_HEAD_TYPE = re.compile(
    r"""\btype\\?['"]?\s*[=:]\s*\\?['"]?(?:\w+\.)*(\w*RPNHead)\b"""
)


class LoadedHead(NamedTuple):
    """A head of the model, and what the checkpoint had for it.

    Attributes:
        place (str): Name of the module.
        head (RPNHead): The model's.
        has_std_range (bool): Whether the weights are a KLRPNHead's.
    """

    place: str
    head: RPNHead
    has_std_range: bool


class WrongHead(NamedTuple):
    """A head that got weights of another head.

    Attributes:
        head (RPNHead): The model's.
        reason (str): Both heads, and the remedy.
    """

    head: RPNHead
    reason: str


@contextmanager
def watch_heads(model: nn.Module) -> Iterator[List[LoadedHead]]:
    """Record which weights the RPN heads of a model are given.

    Detectors rename weights while loading, so only the heads see theirs.

    Args:
        model (nn.Module): The model, in any wrapper.

    Yields:
        list[LoadedHead]: The heads that have been given weights so far.
    """
    loaded: List[LoadedHead] = []

    def watch(head: RPNHead) -> RemovableHandle:
        def note(state_dict: dict, prefix: str, *_) -> None:
            if f'{prefix}rpn_cls.weight' in state_dict:
                known = f'{prefix}std_range' in state_dict
                loaded.append(LoadedHead(prefix.rstrip('.'), head, known))

        return head._register_load_state_dict_pre_hook(note)

    handles = [watch(x) for x in model.modules() if isinstance(x, RPNHead)]
    try:
        yield loaded
    finally:
        for handle in handles:
            handle.remove()


def wrong_heads(
    loaded: Sequence[LoadedHead], checkpoint: dict
) -> List[WrongHead]:
    """Find heads whose weights are certainly another head's.

    Args:
        loaded (Sequence[LoadedHead]): From :func:`watch_heads`.
        checkpoint (dict): What was loaded.

    Returns:
        list[WrongHead]: Empty if the checkpoint does not show it.
    """
    trained = _trained_heads(checkpoint)
    wrong = []
    for place, head, has_std_range in loaded:
        name = type(head).__name__
        if not isinstance(head, KLRPNHead):
            named = 'KLRPNHead' in trained and name not in trained
            other = 'KLRPNHead' if has_std_range or named else ''
        elif has_std_range or trained & {'KLRPNHead', name}:
            other = ''
        else:
            other = ' or '.join(sorted(_PLAIN_HEADS & trained))
        if other:
            reason = (
                f'its {place} was trained as {other}, but the config has '
                f'{name}, to which the same weights mean something else: give '
                'the config that it was trained with, or train from it by '
                'load_from'
            )
            wrong.append(WrongHead(head, reason))
    return wrong


def _trained_heads(checkpoint: dict) -> Set[str]:
    """Names of the RPN heads in the stored config, however it is stored."""
    meta = checkpoint.get('meta')
    if not isinstance(meta, dict):
        return set()
    texts = (meta.get('cfg'), meta.get('config'))  # of mmdet 3.x and 2.x
    kinds = (str, bytes, dict, Config)
    return {
        name
        for text in texts
        if isinstance(text, kinds)
        for name in _HEAD_TYPE.findall(str(text))
    }
