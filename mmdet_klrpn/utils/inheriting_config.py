"""Text of a config that inherits another and changes a few lines."""

import os
from pathlib import Path

from .conversion import mmdet_configs


def base_name(config: Path, out: Path) -> str:
    """How a config at ``out`` names the one that it inherits."""
    config, root = config.resolve(), mmdet_configs().resolve()
    if root in config.parents:
        name = config.relative_to(root).as_posix()
        # mmengine takes no folder such as gn+ws right behind the colons.
        detour = '' if name.split('/')[0].isidentifier() else '_base_/../'
        return f'mmdet::{detour}{name}'
    return Path(os.path.relpath(config, out.resolve().parent)).as_posix()


def render(variables: dict) -> str:
    """Text of a config, with a line for each of its variables."""
    lines = (f'{name} = {_source(value)}' for name, value in variables.items())
    return '\n'.join(lines) + '\n'


def _source(value: object) -> str:
    """A value as source, dicts in the style of mmdet's configs."""
    if not isinstance(value, dict):
        return repr(value)
    items = (f'{key}={_source(item)}' for key, item in value.items())
    return f'dict({", ".join(items)})'
