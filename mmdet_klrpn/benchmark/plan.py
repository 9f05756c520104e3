"""What a benchmark compares: pairs of configs, seeds and preparations."""

from pathlib import Path
from typing import Dict, List, NamedTuple, Tuple

import yaml


class Pair(NamedTuple):
    """A detector with its ordinary RPN, and the same with KL-RPN.

    Attributes:
        name (str): What the detector is called in tables.
        baseline (Path): Its config.
        kl_rpn (Path): The config that is compared with it.
        allow (tuple[str]): Keys, dotted, in which the two may differ beyond
            ``model.rpn_head``.
    """

    name: str
    baseline: Path
    kl_rpn: Path
    allow: Tuple[str, ...] = ()

    @property
    def configs(self) -> Tuple[Path, Path]:
        """Both configs, the baseline's first."""
        return self.baseline, self.kl_rpn


class Preparation(NamedTuple):
    """A command, and the file that there is once it has run."""

    creates: Path
    run: str


class Plan(NamedTuple):
    """All that a benchmark trains and compares.

    Attributes:
        title (str): Heading of the report.
        work_dir (Path): Where the runs are.
        seeds (int): Number of seeds, 0 to ``seeds - 1``.
        pairs (tuple[Pair]): What is compared.
        note (str): What the report must say about data and schedule.
        prepare (tuple[Preparation]): Commands for data and weights.
    """

    title: str
    work_dir: Path
    seeds: int
    pairs: Tuple[Pair, ...]
    note: str = ''
    prepare: Tuple[Preparation, ...] = ()


def load_plan(path: Path) -> Plan:
    """Read a plan.

    Args:
        path (Path): YAML file with the attributes of :class:`Plan`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a key is unknown or missing, a value is of the wrong
            kind, or two pairs share a name.
    """
    if not path.is_file():
        raise FileNotFoundError(f'{path}: no such plan')
    data = _fields(yaml.safe_load(path.read_text()), Plan, str(path))
    pairs = [
        _pair(pair, f'{path}: pairs[{i}]')
        for i, pair in enumerate(_list(data['pairs'], f'{path}: pairs'))
    ]
    names = [pair.name for pair in pairs]
    if not pairs or len(set(names)) < len(names):
        raise ValueError(
            f'{path}: pairs must be one or more with names of their own, '
            f'but got {names}'
        )
    prepare = _list(data.get('prepare', []), f'{path}: prepare')
    plan = Plan(
        title=str(data['title']),
        work_dir=Path(data['work_dir']),
        seeds=data['seeds'],
        pairs=tuple(pairs),
        note=str(data.get('note', '')).strip(),
        prepare=tuple(
            _preparation(step, f'{path}: prepare[{i}]')
            for i, step in enumerate(prepare)
        ),
    )
    check_seeds(plan.seeds, f'{path}: seeds')
    return plan


def check_seeds(seeds: object, place: str) -> None:
    """Raise a ValueError unless it is a number of seeds."""
    if not isinstance(seeds, int) or isinstance(seeds, bool) or seeds < 1:
        raise ValueError(f'{place} must be a number >= 1, but got {seeds!r}')


def check_files(plan: Plan) -> None:
    """Raise a FileNotFoundError that names each config that is missing."""
    missing = [
        str(config)
        for pair in plan.pairs
        for config in pair.configs
        if not config.is_file()
    ]
    if missing:
        raise FileNotFoundError(
            f'no such config in {Path.cwd()}: {", ".join(missing)}; run '
            'from the folder that the paths of the plan start from'
        )


def _pair(data: object, place: str) -> Pair:
    fields = _fields(data, Pair, place)
    allow = _list(fields.get('allow', []), f'{place}.allow')
    return Pair(
        str(fields['name']),
        Path(fields['baseline']),
        Path(fields['kl_rpn']),
        tuple(map(str, allow)),
    )


def _preparation(data: object, place: str) -> Preparation:
    fields = _fields(data, Preparation, place)
    return Preparation(Path(fields['creates']), str(fields['run']))


def _fields(data: object, kind: type, place: str) -> Dict[str, object]:
    """A mapping, if its keys are those of the kind."""
    if not isinstance(data, dict):
        raise ValueError(f'{place} must be a mapping, but got {data!r}')
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


def _list(data: object, place: str) -> List[object]:
    if not isinstance(data, list):
        raise ValueError(f'{place} must be a list, but got {data!r}')
    return data
