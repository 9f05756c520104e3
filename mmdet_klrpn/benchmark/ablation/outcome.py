"""What has been measured, row by row, and how rows differ."""

import json
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Tuple

from ..runs import PLAN
from ..statistics import Difference, compare
from .figures import Figure
from .plan import AblationPlan, Question, Row, load_ablation
from .study import KEYS, features_file, read_results


class Outcome(NamedTuple):
    """Results of a row on one set of features.

    Attributes:
        row (Row): The row.
        key (str): The same of rows with the same settings.
        results (dict[int, dict]): By seed.
    """

    row: Row
    key: str
    results: Dict[int, dict]

    def mean(self, figure: Figure) -> Optional[float]:
        """Mean over seeds, in points; None where nothing is measured."""
        values = [figure.read(result) for result in self.results.values()]
        return sum(values) / len(values) if values else None

    def difference(
        self, reference: 'Outcome', figure: Figure
    ) -> Optional[Difference]:
        """Its figure minus the reference's, of the seeds that both have."""
        seeds = sorted(self.results.keys() & reference.results.keys())
        if not seeds:
            return None
        values = (
            [figure.read(outcome.results[seed]) for seed in seeds]
            for outcome in (reference, self)
        )
        return compare(*values)


class Comparison(NamedTuple):
    """Rows of a question on one set of features.

    Attributes:
        features (str): Name of the features.
        classes (int): How many classes the objects have.
        reference (Outcome): What rows are compared with.
        outcomes (tuple[Outcome]): Of every row, the reference's first.
    """

    features: str
    classes: int
    reference: Outcome
    outcomes: Tuple[Outcome, ...]


class Outcomes:
    """All that is measured in a folder.

    Args:
        work_dir (Path): Of an ablation.

    Raises:
        FileNotFoundError: If no ablation was run there.
    """

    def __init__(self, work_dir: Path) -> None:
        for name in (PLAN, KEYS):
            if not (work_dir / name).is_file():
                raise FileNotFoundError(
                    f'no {name} in {work_dir}: run the ablation first'
                )
        self.work_dir = work_dir
        self.plan: AblationPlan = load_ablation(work_dir / PLAN)
        self.keys = json.loads((work_dir / KEYS).read_text())
        self.descriptions = {
            name: json.loads(path.read_text())
            for name, key in self.keys['features'].items()
            for path in [features_file(work_dir, key).with_suffix('.json')]
            if path.is_file()
        }
        self._results: Dict[str, Dict[int, dict]] = {}

    def comparisons(self, question: Question) -> List[Comparison]:
        """A question on each of the features that are there."""
        reference = self.plan.reference_of(question)
        rows = [row for row in question.rows if row.name != reference.name]
        found = []
        for name, description in self.descriptions.items():
            first, *others = (
                self._outcome(question, row, name)
                for row in (reference, *rows)
            )
            classes = len(description['classes'])
            found.append(Comparison(name, classes, first, (first, *others)))
        return found

    def results(self) -> List[dict]:
        """Every result that a row of the plan has, each once."""
        for question in self.plan.questions:
            self.comparisons(question)
        return [
            result
            for by_seed in self._results.values()
            for result in by_seed.values()
        ]

    def _outcome(self, question: Question, row: Row, features: str) -> Outcome:
        of_rows = self.keys['rows']
        asked = of_rows[question.question]
        if row.name not in asked:  # the reference, of another question
            asked = next(rows for rows in of_rows.values() if row.name in rows)
        key = asked[row.name][features]
        if key not in self._results:
            self._results[key] = read_results(self.work_dir, key)
        return Outcome(row, key, self._results[key])
