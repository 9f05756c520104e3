"""From a row of a plan to all that a head's training and test depend on."""

import ast
import hashlib
import inspect
import json
from functools import lru_cache
from pathlib import Path
from typing import Dict, NamedTuple

from mmdet.registry import MODELS, TASK_UTILS
from mmengine.config import Config, ConfigDict
from mmengine.registry import init_default_scope
from torch import nn

from mmdet_klrpn import models

from .plan import Row


class Settings(NamedTuple):
    """A row, resolved with a config.

    Attributes:
        rpn_head (dict): Config of the head, with its ``train_cfg``.
        optim_wrapper (dict): Config of the optimizer and of clipping.
        param_scheduler (list[dict]): Configs of the schedule.
        test_cfg (dict): Of the head: top-k and NMS.
    """

    rpn_head: dict
    optim_wrapper: dict
    param_scheduler: list
    test_cfg: dict

    def training_key(self) -> str:
        """The same of all settings that train the same head."""
        return digest(
            [
                with_defaults(self.rpn_head),
                code_digest() if _is_ours(self.rpn_head) else None,
                [self.optim_wrapper, self.param_scheduler],
            ]
        )

    def key(self) -> str:
        """The same of all settings that give the same result."""
        return digest([self.training_key(), self.test_cfg])


def resolve(config: Config, row: Row) -> Settings:
    """Merge a row's changes into a config.

    Args:
        config (Config): Of a detector with an RPN.
        row (Row): What to change.

    Raises:
        ValueError: If ``train_cfg`` or ``test_cfg`` of the row names a key
            that the config has not, or the head cannot be built.
    """
    model = config.model
    parts = Config(
        dict(
            rpn_head=model.rpn_head.to_dict(),
            train_cfg=model.train_cfg.rpn.to_dict(),
            test_cfg=model.test_cfg.rpn.to_dict(),
            optim_wrapper=config.optim_wrapper.to_dict(),
        )
    )
    for part in ('train_cfg', 'test_cfg'):
        for key in getattr(row, part):
            _check_key(parts[part], key, part)
    changes = {
        f'{part}.{key}': value
        for part in ('rpn_head', 'train_cfg', 'test_cfg')
        for key, value in getattr(row, part).items()
    }
    if row.lr is not None:
        changes['optim_wrapper.optimizer.lr'] = row.lr
    parts.merge_from_dict(changes)
    parts = parts.to_dict()
    schedulers = config.get('param_scheduler') or []
    if isinstance(schedulers, dict):
        schedulers = [schedulers]
    settings = Settings(
        dict(parts['rpn_head'], train_cfg=parts['train_cfg']),
        parts['optim_wrapper'],
        [scheduler.to_dict() for scheduler in schedulers],
        parts['test_cfg'],
    )
    init_default_scope(config.get('default_scope', 'mmdet'))
    try:
        build_head(settings)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f'{row.name}: {error}') from error
    return settings


def build_head(settings: Settings) -> nn.Module:
    """The head, as a two-stage detector would build it."""
    head = ConfigDict(settings.rpn_head)
    return MODELS.build(dict(head, test_cfg=ConfigDict(settings.test_cfg)))


def with_defaults(head: dict) -> Dict[str, object]:
    """A head's config with the defaults of what it leaves out.

    A default that is spelt out is the same settings.
    """
    defaults = {}
    for cls in reversed(MODELS.get(head['type']).__mro__):
        if '__init__' in vars(cls):
            parameters = inspect.signature(cls.__init__).parameters.values()
            defaults.update(
                (parameter.name, parameter.default)
                for parameter in parameters
                if parameter.default is not parameter.empty
            )
    return {**defaults, **head}


@lru_cache(maxsize=None)
def code_digest() -> str:
    """A name for what this package's heads compute.

    Of the code without comments and docstrings, so that a result is never
    taken for one of other code.
    """
    trees = []
    for path in sorted(Path(models.__file__).parent.rglob('*.py')):
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if hasattr(node, 'body') and _is_text(node.body):
                node.body = node.body[1:]
        trees.append(ast.dump(tree))
    return digest(trees)


def _is_ours(config: object) -> bool:
    """Whether this package has code of anything that a config builds."""
    if isinstance(config, (list, tuple)):
        return any(map(_is_ours, config))
    if not isinstance(config, dict):
        return False
    name = config.get('type')
    found = name and (MODELS.get(name) or TASK_UTILS.get(name))
    own = getattr(found, '__module__', '').startswith(f'{models.__name__}.')
    return own or _is_ours(list(config.values()))


def _is_text(body: object) -> bool:
    """Whether a body begins with a docstring."""
    first = body[0] if isinstance(body, list) and body else None
    value = getattr(first, 'value', None)
    return isinstance(first, ast.Expr) and isinstance(value, ast.Constant)


def digest(content: object) -> str:
    """A name for nested configs: the same for equal ones."""
    text = json.dumps(_plain(content), sort_keys=True, default=repr)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def file_digest(path: Path) -> str:
    """A name for what a file holds."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def _plain(node: object) -> object:
    """Equal numbers, and lists and tuples, in one way."""
    if isinstance(node, dict):
        return {str(key): _plain(value) for key, value in node.items()}
    if isinstance(node, (list, tuple)):
        return [_plain(value) for value in node]
    if isinstance(node, int) and not isinstance(node, bool):
        return float(node)
    return node


def _check_key(node: object, key: str, part: str) -> None:
    for name in key.split('.'):
        if not isinstance(node, dict) or name not in node:
            raise ValueError(f'{part}: the config has no {key}')
        node = node[name]
