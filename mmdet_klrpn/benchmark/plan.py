"""A benchmark's plan: named detectors, and which of them are compared."""

import re
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

from ..utils.package_folders import package_folder
from .columns import AP_NAMES, PROPOSAL_NUMBERS, RECALL_NUMBERS
from .fields import (
    Preparation,
    as_list,
    as_mapping,
    as_text,
    check_known,
    check_names,
    check_seeds,
    fields_of,
    read_plan,
    read_preparations,
)

SPLITS = ('test', 'val')
# What can be a plan's primary metric.
METRICS = (
    *AP_NAMES,
    *(f'AP@{number}' for number in PROPOSAL_NUMBERS),
    *(
        f'{name}@{number}'
        for name in ('AR', 'AR_S', 'AR_M', 'AR_L')
        for number in RECALL_NUMBERS
    ),
)


class Detector(NamedTuple):
    """A detector that a plan names.

    Attributes:
        name (str): What tables call it.
        config (str): Path of its config, or the name of one of mmdet's or of
            this package's.
        checkpoint (str, optional): Path or URL of finished weights. Such a
            detector is measured and not trained, and counts as one seed, 0.
        cfg_options (dict): Dotted keys of the config and their values, as
            ``--cfg-options`` takes them.
    """

    name: str
    config: str
    checkpoint: Optional[str] = None
    cfg_options: Dict[str, object] = {}


class Comparison(NamedTuple):
    """Two detectors, of which the second is compared with the first.

    A difference is always the second's value minus the first's.

    Attributes:
        first (str): Name of a detector, such as the baseline.
        second (str): Name of another one.
        allow (tuple[str]): Dotted config keys outside the RPN head in which
            the two may differ.
    """

    first: str
    second: str
    allow: Tuple[str, ...] = ()


class Plan(NamedTuple):
    """All that a benchmark trains, measures and compares.

    Attributes:
        title (str): Heading of the report.
        work_dir (Path): Where the runs are.
        detectors (tuple[Detector]): In the order of the tables' rows.
        compare (tuple[Comparison]): Pairs of their names.
        seeds (int): Number of seeds, 0 to ``seeds - 1``.
        metric (str): The primary metric, by which verdicts are given: one
            of ``METRICS``, such as 'AP' or 'AR@100'.
        split (str): One of ``SPLITS``: whose data loader and evaluator of
            the configs are used to measure.
        note (str): What the report must say about data and schedule.
        prepare (tuple[Preparation]): Commands for data and weights.
    """

    title: str
    work_dir: Path
    detectors: Tuple[Detector, ...]
    compare: Tuple[Comparison, ...]
    seeds: int
    metric: str = 'AP'
    split: str = 'test'
    note: str = ''
    prepare: Tuple[Preparation, ...] = ()

    def detector(self, name: str) -> Detector:
        """The detector of a name."""
        return next(d for d in self.detectors if d.name == name)

    def seeds_of(self, detector: Detector) -> range:
        """Seeds of a detector: one if its checkpoint is given."""
        return range(1 if detector.checkpoint else self.seeds)


def slug(name: str) -> str:
    """A detector's name as a folder: 'RPN, top-9' becomes 'rpn-top-9'."""
    return re.sub(r'[^a-z0-9]+', '-', name.lower()).strip('-')


def find_plan(name: Union[str, Path]) -> Path:
    """File of a plan, given by its path or as one of this package's."""
    path = Path(name)
    own = package_folder('benchmarks') / path.with_suffix('.yaml')
    bare = path.name == str(path) and not path.is_file()
    return own if bare and own.is_file() else path


def load_plan(name: Union[str, Path]) -> Plan:
    """Read a plan.

    Args:
        name (str or Path): YAML file with the attributes of :class:`Plan`, or
            the name of one of this package's, such as 'coco_paper'.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a key is unknown, missing or given twice, a value is of
            the wrong kind, or a name is unknown or that of two detectors.
    """
    path = find_plan(name)
    data = read_plan(path, Plan)
    detectors = _detectors(data['detectors'], f'{path}: detectors')
    names = [detector.name for detector in detectors]
    plan = Plan(**data)._replace(
        title=as_text(data['title'], f'{path}: title'),
        work_dir=Path(as_text(data['work_dir'], f'{path}: work_dir')),
        detectors=detectors,
        compare=_comparisons(data['compare'], names, f'{path}: compare'),
        note=as_text(data['note'], f'{path}: note') if 'note' in data else '',
        prepare=read_preparations(data, str(path)),
    )
    check_seeds(plan.seeds, f'{path}: seeds')
    check_known(plan.metric, METRICS, f'{path}: metric')
    check_known(plan.split, SPLITS, f'{path}: split')
    return plan


def _detectors(data: object, place: str) -> Tuple[Detector, ...]:
    detectors: Dict[str, Detector] = {}  # by folder
    for name, given in as_mapping(data, place).items():
        at = f'{place}.{name}'
        given = dict(config=given) if isinstance(given, str) else given
        if 'name' in as_mapping(given, at):
            raise ValueError(f'{at}: unknown name: its key is its name')
        detector = Detector(**fields_of(dict(given, name=name), Detector, at))
        for key in {'name', 'config', *given} - {'cfg_options'}:
            as_text(getattr(detector, key), f'{at}.{key}')
        for key in as_mapping(detector.cfg_options, f'{at}.cfg_options'):
            as_text(key, f'{at}.cfg_options: a key')
        folder = slug(name)
        other = detectors.setdefault(folder, detector)
        if not folder or other is not detector:
            raise ValueError(
                f'{at}: its folder would be {folder!r}, which is '
                + (f'that of {other.name} too' if folder else 'no name')
                + ': choose another name'
            )
    check_names(list(detectors), place)
    return tuple(detectors.values())


class _Entry(NamedTuple):
    """An entry of ``compare`` that says more than two names."""

    pair: List[str]
    allow: List[str] = []


def _comparisons(
    data: object, names: Sequence[str], place: str
) -> Tuple[Comparison, ...]:
    found: List[Comparison] = []
    for i, value in enumerate(as_list(data, place)):
        at = f'{place}[{i}]'
        given = dict(pair=value) if isinstance(value, list) else value
        entry = _Entry(**fields_of(given, _Entry, at))
        pair = as_list(entry.pair, f'{at}.pair')
        for name in pair:
            check_known(name, names, at)
        known = [{each.first, each.second} for each in found]
        if len(pair) != 2 or pair[0] == pair[1] or set(pair) in known:
            raise ValueError(
                f'{at} must be two detectors that no other entry compares, '
                f'but got {pair}'
            )
        allow = as_list(entry.allow, f'{at}.allow')
        allow = tuple(as_text(key, f'{at}.allow') for key in allow)
        found.append(Comparison(*pair, allow))
    return tuple(found)
