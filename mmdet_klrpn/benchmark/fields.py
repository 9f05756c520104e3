"""Plans in YAML, read strictly: what is misspelt is refused."""

import re
from pathlib import Path
from typing import (
    Collection,
    Sequence,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

import yaml

from ..utils.errors import suggest


class _Loader(yaml.SafeLoader):
    """SafeLoader that refuses a key given twice, and reads 1e-3 as a number.

    The parent keeps the last of the values, and reads text without a dot.
    """

    def compose_mapping_node(self, anchor: object) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if isinstance(key.value, str) and key.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f'{key.value!r} is given twice: remove one',
                    problem_mark=key.start_mark,
                )
            seen.add(str(key.value))
        return node


_Loader.add_implicit_resolver(
    'tag:yaml.org,2002:float',
    re.compile(r'[-+]?\d+(\.\d*)?[eE][-+]?\d+$'),
    list('-+0123456789'),
)


def read_plan(path: Path, kind: type) -> tuple:
    """Read a plan, a NamedTuple as :func:`read` takes it, from a YAML file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no YAML, a key is given twice, unknown or missing,
            or a value is of the wrong kind.
    """
    if not path.is_file():
        raise FileNotFoundError(f'{path}: no such plan')
    try:
        return read(kind, yaml.load(path.read_text(), _Loader), str(path))
    except yaml.YAMLError as error:
        raise ValueError(f'{path} is no YAML: {error}') from None


def read(kind: type, data: object, place: str, **given: object) -> object:
    """Read a value that is annotated as of a kind.

    A NamedTuple is a mapping of its attributes, or the first of them alone if
    that is text or a list. A Tuple is a list, or a mapping of names if its
    items have a ``name``. An int is at least 1, and all else is text that is
    not empty.

    Args:
        kind (type): The annotation.
        data (object): What YAML gave.
        place (str): Where it stands, for messages.
        **given (object): Attributes of a NamedTuple that are not in the data.

    Raises:
        ValueError: If it is of another kind, or a key unknown or missing.
    """
    if kind is object:
        return data
    origin, args = get_origin(kind), get_args(kind)
    known = [key for key in getattr(kind, '_fields', ()) if key not in given]
    item = (args or (None,))[origin is dict]
    named = hasattr(item, 'name')
    if known and isinstance(data, (str, list)):
        data = {known[0]: data}
    wanted, fits = 'text in quotes', isinstance(data, str) and data.strip()
    if known or named or origin is dict:
        wanted, fits = 'a mapping', isinstance(data, dict)
    elif origin is tuple:
        wanted, fits = 'a list', isinstance(data, list)
    elif kind is int:
        wanted, fits = 'a number >= 1', type(data) is int and data >= 1
    if not fits:
        raise ValueError(f'{place} must be {wanted}, but got {data!r}')
    if known:
        hints = get_type_hints(kind)
        check_keys(data, known, kind._field_defaults, place)
        for key, value in data.items():
            given[key] = read(hints[key], value, f'{place}.{key}')
        return kind(**given)
    if isinstance(data, dict):
        found = {}
        for key, value in data.items():
            key = read(str, key, f'{place}: a key')
            name = dict(name=key) if named else {}
            found[key] = read(item, value, f'{place}.{key}', **name)
        return found if origin is dict else tuple(found.values())
    if isinstance(data, list):
        return tuple(
            read(item, x, f'{place}[{i}]') for i, x in enumerate(data)
        )
    # The text of an Optional is None if it is absent.
    kind = item if origin is Union else kind
    return data if kind is int else kind(data.strip())


def check_keys(
    data: dict, known: Sequence[str], optional: Collection[str], place: str
) -> None:
    """Raise a ValueError for a key that is unknown or missing."""
    unknown = sorted(set(data) - set(known), key=str)
    missing = [key for key in known if key not in {*data, *optional}]
    if unknown or missing:
        what = f'missing {", ".join(missing)}'
        if unknown:
            what = f'unknown {", ".join(map(str, unknown))}'
            what += suggest(unknown[0], known)
        raise ValueError(f'{place}: {what}; its keys are {", ".join(known)}')


def check_known(name: object, known: Collection[str], place: str) -> None:
    """Raise a ValueError with a near name unless the name is known."""
    if name not in known:
        raise ValueError(
            f'{place} must be one of {", ".join(known)}, but got {name!r}'
            + suggest(name, known)
        )
