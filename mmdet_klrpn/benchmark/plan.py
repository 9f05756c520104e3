"""A benchmark's plan: named detectors, and which of them are compared."""

import re
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Tuple, Union

from ..utils.package_folders import package_folder
from .columns import AP_NAMES, AR_NAMES, PROPOSAL_NUMBERS, RECALL_NUMBERS
from .fields import check_known, read_plan

SPLITS = ('test', 'val')
# What can be a plan's primary metric.
METRICS = (
    *AP_NAMES,
    *(f'AP@{number}' for number in PROPOSAL_NUMBERS),
    *(f'{name}@{number}' for name in AR_NAMES for number in RECALL_NUMBERS),
)


class Detector(NamedTuple):
    """A detector that a plan names.

    With a checkpoint, a path or URL of finished weights, it is measured and
    not trained, and counts as one seed, 0.
    """

    name: str  # what tables call it
    config: str  # path, or name of one of mmdet's or of this package's
    checkpoint: Optional[str] = None
    cfg_options: Dict[str, object] = {}  # as --cfg-options takes them


class Comparison(NamedTuple):
    """Two detectors, by name, of which the second is compared with the first.

    A difference is always the second's value minus the first's. They may
    differ in dotted config keys outside the RPN head that ``allow`` names.
    """

    pair: Tuple[str, ...]
    allow: Tuple[str, ...] = ()


class Preparation(NamedTuple):
    """A command, and the file that there is once it has run."""

    creates: Path
    run: str


class Plan(NamedTuple):
    """All that a benchmark trains, measures and compares."""

    title: str
    work_dir: Path  # where the runs are
    detectors: Tuple[Detector, ...]  # in the order of the tables' rows
    compare: Tuple[Comparison, ...]
    seeds: int  # how many, from 0
    metric: str = 'AP'  # of METRICS: the primary one, which gives verdicts
    split: str = 'test'  # of SPLITS: whose loader and evaluator measure
    note: str = ''  # what the report must say about data and schedule
    prepare: Tuple[Preparation, ...] = ()

    @property
    def pairs(self) -> List[Tuple[str, ...]]:
        """The names that are compared, the first of each first."""
        return [pair for pair, _ in self.compare]

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
    plan = read_plan(path, Plan)
    if not plan.detectors:
        raise ValueError(f'{path}: detectors must be one or more')
    names = [detector.name for detector in plan.detectors]
    folders: Dict[str, str] = {}
    for name in names:
        other = folders.setdefault(slug(name), name)
        if not slug(name) or other != name:
            whose = f'that of {other} too' if slug(name) else 'no name'
            raise ValueError(
                f'{path}.detectors.{name}: its folder would be '
                f'{slug(name)!r}, which is {whose}: choose another name'
            )
    pairs: List[set] = []
    for i, (pair, _) in enumerate(plan.compare):
        for name in pair:
            check_known(name, names, f'{path}.compare[{i}]')
        if len(pair) != 2 or len({*pair}) < 2 or {*pair} in pairs:
            raise ValueError(
                f'{path}.compare[{i}] must be two detectors that no other '
                f'entry compares, but got {list(pair)}'
            )
        pairs.append({*pair})
    check_known(plan.metric, METRICS, f'{path}.metric')
    check_known(plan.split, SPLITS, f'{path}.split')
    return plan
