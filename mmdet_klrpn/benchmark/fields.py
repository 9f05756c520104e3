"""Plans in YAML, read strictly: what is misspelt is refused."""

from pathlib import Path
from typing import Dict, List, NamedTuple, Tuple

import yaml


class Preparation(NamedTuple):
    """A command, and the file that there is once it has run."""

    creates: Path
    run: str


def read_plan(path: Path, kind: type) -> Dict[str, object]:
    """Read a plan's fields from a file.

    Args:
        path (Path): YAML file.
        kind (type): A NamedTuple whose attributes are its keys.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no YAML, or a key is unknown or missing.
    """
    if not path.is_file():
        raise FileNotFoundError(f'{path}: no such plan')
    try:
        data = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise ValueError(f'{path} is no YAML: {error}') from None
    return fields_of(data, kind, str(path))


def fields_of(data: object, kind: type, place: str) -> Dict[str, object]:
    """A mapping, if its keys are those of the kind.

    Args:
        data (object): What should be a mapping.
        kind (type): A NamedTuple.
        place (str): Where it stands, for messages.

    Raises:
        ValueError: If it is none, or a key is unknown or missing.
    """
    data = as_mapping(data, place)
    unknown = sorted(set(data) - set(kind._fields), key=str)
    required = set(kind._fields) - set(kind._field_defaults)
    missing = sorted(required - set(data))
    for what, keys in (('unknown', unknown), ('missing', missing)):
        if keys:
            raise ValueError(
                f'{place}: {what} {", ".join(map(str, keys))}; its keys are '
                f'{", ".join(kind._fields)}'
            )
    return data


def as_mapping(data: object, place: str) -> Dict[str, object]:
    """The same, if it is a mapping, else a ValueError."""
    if not isinstance(data, dict):
        raise ValueError(f'{place} must be a mapping, but got {data!r}')
    return data


def as_list(data: object, place: str) -> List[object]:
    """The same, if it is a list, else a ValueError."""
    if not isinstance(data, list):
        raise ValueError(f'{place} must be a list, but got {data!r}')
    return data


def check_names(names: List[str], place: str) -> None:
    """Raise a ValueError unless there are names, and none of them twice."""
    if not names or len(set(names)) < len(names):
        raise ValueError(
            f'{place} must be one or more with names of their own, but got '
            f'{names}'
        )


def check_seeds(seeds: object, place: str) -> None:
    """Raise a ValueError unless it is a number of seeds."""
    if not isinstance(seeds, int) or isinstance(seeds, bool) or seeds < 1:
        raise ValueError(f'{place} must be a number >= 1, but got {seeds!r}')


def read_preparations(
    data: Dict[str, object], place: str
) -> Tuple[Preparation, ...]:
    """The commands under ``prepare``, none if the key is absent."""
    place = f'{place}: prepare'
    steps = []
    for i, step in enumerate(as_list(data.get('prepare', []), place)):
        fields = fields_of(step, Preparation, f'{place}[{i}]')
        steps.append(Preparation(Path(fields['creates']), str(fields['run'])))
    return tuple(steps)
