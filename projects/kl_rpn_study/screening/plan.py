"""A screening's plan: questions, and the settings that answer them."""

from pathlib import Path
from typing import Dict, NamedTuple, Optional, Tuple

from mmdet_klrpn.benchmark.fields import check_known, read_plan
from mmdet_klrpn.benchmark.plan import SPLITS, Detector, Preparation

Settings = Dict[str, object]


class Question(NamedTuple):
    """Settings that are compared with each other.

    Rows change a config by dotted keys: ``rpn_head.*``, ``train_cfg.*``,
    ``test_cfg.*``, the head's, and ``lr``.
    """

    rows: Dict[str, Settings]
    reason: str = ''  # what the tables show
    reference: Optional[str] = None  # row of any question; the plan's, if None


class Screening(NamedTuple):
    """All that is trained and compared, as in ``plans/screening.yaml``.

    ``features`` are those of detectors with an RPN, which give data, backbone,
    head and schedule: of a checkpoint, or of the pretrained backbone.
    """

    title: str
    work_dir: Path
    seeds: int
    reference: str
    features: Dict[str, Detector]
    questions: Dict[str, Question]
    split: str = 'test'
    note: str = ''
    prepare: Tuple[Preparation, ...] = ()

    def rows_of(self, name: str) -> Dict[str, Settings]:
        """Rows of a question, its reference first."""
        question = self.questions[name]
        reference = question.reference or self.reference
        own = [question] if reference in question.rows else []
        found = [
            other.rows[reference]
            for other in own or self.questions.values()
            if reference in other.rows
        ]
        if not found or any(settings != found[0] for settings in found):
            what = 'rows that differ' if found else 'no row'
            raise ValueError(f'{name}: reference {reference!r} names {what}')
        return {reference: found[0], **question.rows}


def load_screening(path: Path) -> Screening:
    """Read a plan.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a key is unknown or missing, a value is of the wrong
            kind, or a reference is not found.
    """
    plan = read_plan(path, Screening)
    check_known(plan.split, SPLITS, f'{path}.split')
    for name in plan.questions:
        plan.rows_of(name)
    return plan
