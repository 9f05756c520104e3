"""What an ablation compares: questions, and settings that answer them."""

from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Tuple

from ..fields import (
    Preparation,
    as_list,
    as_mapping,
    check_names,
    check_seeds,
    fields_of,
    read_plan,
    read_preparations,
)


class FeatureSet(NamedTuple):
    """Features that heads are trained and tested on.

    Attributes:
        name (str): What they are called in tables.
        config (Path): Of a detector with an RPN: it says data, augmentation,
            backbone, neck, head and schedule.
        checkpoint (Path, optional): Of the trained detector whose features
            they are. Without it they are those of the config's pretrained
            backbone.
    """

    name: str
    config: Path
    checkpoint: Optional[Path] = None


class Row(NamedTuple):
    """Settings of a head, by what they change in a config.

    Attributes:
        name (str): What they are called in tables.
        rpn_head (dict): Of ``model.rpn_head``, by dotted keys.
        train_cfg (dict): Of ``model.train_cfg.rpn``, likewise.
        test_cfg (dict): Of ``model.test_cfg.rpn``, likewise.
        lr (float, optional): Learning rate instead of the config's.
    """

    name: str
    rpn_head: Dict[str, object] = {}
    train_cfg: Dict[str, object] = {}
    test_cfg: Dict[str, object] = {}
    lr: Optional[float] = None


class Question(NamedTuple):
    """Settings that are compared with each other.

    Attributes:
        question (str): Heading of their tables.
        rows (tuple[Row]): The settings.
        reason (str): Why the default is what it is.
        reference (str, optional): Name of the row that the others are
            compared with, here or in another question. Without it, that of
            the plan.
    """

    question: str
    rows: Tuple[Row, ...]
    reason: str = ''
    reference: Optional[str] = None


class AblationPlan(NamedTuple):
    """All that an ablation trains and compares.

    Attributes:
        title (str): Heading of the report.
        work_dir (Path): Where features and results are.
        seeds (int): Number of seeds, 0 to ``seeds - 1``.
        reference (str): Name of the row that others are compared with.
        features (tuple[FeatureSet]): On what each row is trained and tested.
        questions (tuple[Question]): What is compared.
        note (str): What the report must say about the data.
        prepare (tuple[Preparation]): Commands for data and weights.
    """

    title: str
    work_dir: Path
    seeds: int
    reference: str
    features: Tuple[FeatureSet, ...]
    questions: Tuple[Question, ...]
    note: str = ''
    prepare: Tuple[Preparation, ...] = ()

    def reference_of(self, question: Question) -> Row:
        """The row that those of a question are compared with.

        Raises:
            ValueError: If there is none of its name, or several that differ.
        """
        name = question.reference or self.reference
        rows = [row for row in question.rows if row.name == name]
        if not rows:
            everywhere = (row for q in self.questions for row in q.rows)
            rows = [row for row in everywhere if row.name == name]
        if not rows or any(row != rows[0] for row in rows):
            what = 'rows of different settings' if rows else 'no row'
            raise ValueError(
                f'{question.question}: reference {name!r} names {what}; give '
                'it the name of one row'
            )
        return rows[0]


def load_ablation(path: Path) -> AblationPlan:
    """Read a plan.

    Args:
        path (Path): YAML file with the attributes of :class:`AblationPlan`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a key is unknown or missing, a value is of the wrong
            kind, a name is there twice, or a reference is not found.
    """
    data = read_plan(path, AblationPlan)
    plan = AblationPlan(
        title=str(data['title']),
        work_dir=Path(data['work_dir']),
        seeds=data['seeds'],
        reference=str(data['reference']),
        features=tuple(
            _feature_set(item, place)
            for item, place in _items(data, 'features', str(path))
        ),
        questions=tuple(
            _question(item, place)
            for item, place in _items(data, 'questions', str(path))
        ),
        note=str(data.get('note', '')).strip(),
        prepare=read_preparations(data, str(path)),
    )
    check_seeds(plan.seeds, f'{path}: seeds')
    check_names([f.name for f in plan.features], f'{path}: features')
    asked = [question.question for question in plan.questions]
    check_names(asked, f'{path}: questions')
    for question in plan.questions:
        names = [row.name for row in question.rows]
        check_names(names, f'{path}: rows of {question.question!r}')
        plan.reference_of(question)
    return plan


def check_files(plan: AblationPlan) -> None:
    """Raise a FileNotFoundError that names what the features lack."""
    paths = [
        path
        for features in plan.features
        for path in (features.config, features.checkpoint)
        if path is not None
    ]
    missing = [str(path) for path in paths if not path.is_file()]
    if missing:
        raise FileNotFoundError(
            f'no such file in {Path.cwd()}: {", ".join(missing)}; run from '
            'the folder that the paths of the plan start from'
        )


def _items(
    data: Dict[str, object], key: str, place: str
) -> List[Tuple[object, str]]:
    """Items of a list, with where they stand."""
    place = f'{place}: {key}'
    return [
        (item, f'{place}[{i}]')
        for i, item in enumerate(as_list(data[key], place))
    ]


def _feature_set(data: object, place: str) -> FeatureSet:
    fields = fields_of(data, FeatureSet, place)
    checkpoint = fields.get('checkpoint')
    return FeatureSet(
        str(fields['name']),
        Path(fields['config']),
        None if checkpoint is None else Path(checkpoint),
    )


def _question(data: object, place: str) -> Question:
    fields = fields_of(data, Question, place)
    reference = fields.get('reference')
    return Question(
        str(fields['question']),
        tuple(_row(*item) for item in _items(fields, 'rows', place)),
        str(fields.get('reason', '')).strip(),
        None if reference is None else str(reference),
    )


def _row(data: object, place: str) -> Row:
    fields = fields_of(data, Row, place)
    lr = fields.get('lr')
    if lr is not None and (not isinstance(lr, float) or not lr > 0):
        raise ValueError(
            f'{place}.lr must be a number > 0 such as 1.0e-3 (YAML takes '
            f'1e-3 for a text), but got {lr!r}'
        )
    changed = (
        as_mapping(fields.get(key, {}), f'{place}.{key}')
        for key in ('rpn_head', 'train_cfg', 'test_cfg')
    )
    return Row(str(fields['name']), *changed, lr)
