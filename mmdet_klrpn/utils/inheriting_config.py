"""Text of a config that inherits another and changes a few lines."""

import os
from keyword import iskeyword
from pathlib import Path

from .conversion import mmdet_configs


def base_name(config: Path, out: Path) -> str:
    """Name the base of a config at ``out``."""
    config, root = config.resolve(), mmdet_configs().resolve()
    if root in config.parents:
        name = config.relative_to(root).as_posix()
        # mmengine accepts no folder such as gn+ws right after the colons.
        detour = '' if name.split('/')[0].isidentifier() else '_base_/../'
        return f'mmdet::{detour}{name}'
    return Path(os.path.relpath(config, out.resolve().parent)).as_posix()


def render(variables: dict) -> str:
    """Write the text of a config, a line for each variable."""
    lines = (f'{name} = {_source(value)}' for name, value in variables.items())
    return '\n'.join(lines) + '\n'


def _source(value: object) -> str:
    """Write a value as source, dicts in the style of mmdet's configs."""
    if isinstance(value, list):
        return f'[{", ".join(map(_source, value))}]'
    if not isinstance(value, dict) or not all(map(_is_name, value)):
        return repr(value)
    items = (f'{key}={_source(item)}' for key, item in value.items())
    return f'dict({", ".join(items)})'


def _is_name(key: object) -> bool:
    """Whether a key can be the name of an argument."""
    return isinstance(key, str) and key.isidentifier() and not iskeyword(key)
