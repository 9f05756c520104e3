"""What a benchmark compares: pairs of configs, seeds and preparations."""

from pathlib import Path
from typing import NamedTuple, Sequence, Tuple

from .fields import (
    Preparation,
    as_list,
    check_names,
    check_seeds,
    fields_of,
    read_plan,
    read_preparations,
)


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
            kind, or two pairs or the files of two configs share a name.
    """
    data = read_plan(path, Plan)
    pairs = [
        _pair(pair, f'{path}: pairs[{i}]')
        for i, pair in enumerate(as_list(data['pairs'], f'{path}: pairs'))
    ]
    check_names([pair.name for pair in pairs], f'{path}: pairs')
    _check_stems([c for pair in pairs for c in pair.configs], str(path))
    plan = Plan(
        title=str(data['title']),
        work_dir=Path(data['work_dir']),
        seeds=data['seeds'],
        pairs=tuple(pairs),
        note=str(data.get('note', '')).strip(),
        prepare=read_preparations(data, str(path)),
    )
    check_seeds(plan.seeds, f'{path}: seeds')
    return plan


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


def _check_stems(configs: Sequence[Path], place: str) -> None:
    """Raise a ValueError if the runs of two configs would be in one folder."""
    first = {}
    for config in configs:
        other = first.setdefault(config.stem, config)
        if other.resolve() != config.resolve():
            raise ValueError(
                f'{place}: the runs of {other} and {config} would both be in '
                f'the folder {config.stem}: rename one'
            )


def _pair(data: object, place: str) -> Pair:
    fields = fields_of(data, Pair, place)
    allow = as_list(fields.get('allow', []), f'{place}.allow')
    return Pair(
        str(fields['name']),
        Path(fields['baseline']),
        Path(fields['kl_rpn']),
        tuple(map(str, allow)),
    )
