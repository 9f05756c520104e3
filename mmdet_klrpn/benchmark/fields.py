"""Plans in YAML, read strictly: what is misspelt is refused."""

import re
from difflib import get_close_matches
from pathlib import Path
from typing import Collection, Dict, List, NamedTuple, Sequence, Tuple

import yaml


class Preparation(NamedTuple):
    """A command, and the file that there is once it has run."""

    creates: Path
    run: str


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


def read_plan(path: Path, kind: type) -> Dict[str, object]:
    """Read a plan's fields from a file.

    Args:
        path (Path): YAML file.
        kind (type): A NamedTuple whose attributes are its keys.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no YAML, or a key is given twice, unknown or
            missing.
    """
    if not path.is_file():
        raise FileNotFoundError(f'{path}: no such plan')
    try:
        data = yaml.load(path.read_text(), _Loader)
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
    missing = set(kind._fields) - set(kind._field_defaults) - set(data)
    for what, keys in (('unknown', unknown), ('missing', sorted(missing))):
        if keys:
            near = what == 'unknown' and did_you_mean(keys[0], kind._fields)
            raise ValueError(
                f'{place}: {what} {", ".join(map(str, keys))}{near or ""}; '
                f'its keys are {", ".join(kind._fields)}'
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


def as_text(data: object, place: str) -> str:
    """The same, stripped, if it is text, else a ValueError."""
    if not isinstance(data, str) or not data.strip():
        raise ValueError(f'{place} must be text in quotes, but got {data!r}')
    return data.strip()


def did_you_mean(name: object, known: Collection[str]) -> str:
    """A question that names the nearest known name, if one is near."""
    near = get_close_matches(str(name), known, 1)
    return f' (did you mean {near[0]}?)' if near else ''


def check_known(name: object, known: Sequence[str], place: str) -> None:
    """Raise a ValueError with a near name unless the name is known."""
    if name not in known:
        raise ValueError(
            f'{place} must be one of {", ".join(known)}, but got {name!r}'
            + did_you_mean(name, known)
        )


def check_names(names: Sequence[str], place: str) -> None:
    """Raise a ValueError unless there are names, and none of them twice."""
    if not names or len(set(names)) < len(names):
        raise ValueError(
            f'{place} must be one or more with names of their own, but got '
            f'{list(names)}'
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
        for key, value in fields.items():
            as_text(value, f'{place}[{i}].{key}')
        steps.append(Preparation(Path(fields['creates']), fields['run']))
    return tuple(steps)
