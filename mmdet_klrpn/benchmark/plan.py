"""A benchmark's plan: named detectors, and which of them are compared."""

from pathlib import Path
from typing import Dict, NamedTuple, Optional, Tuple

from .fields import Preparation

SPLITS = ('test', 'val')


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
        metric (str): The primary metric, by which verdicts are given: 'AP',
            or a name with ``@``, such as 'AR@100'.
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
