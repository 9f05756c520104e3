"""What an ablation has to do, and where what it found is."""

import json
import time
from functools import lru_cache, partial
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple, Tuple

import torch
from mmengine.config import Config

from ..provenance import environment
from .features import Features, extract, features_key, load_features
from .figures import recall_figures
from .plan import AblationPlan, Question, Row
from .pool import Task
from .settings import Settings, resolve
from .training import evaluate_head, train_head

KEYS = 'keys.json'


class Cell(NamedTuple):
    """A row of a question on one set of features.

    Attributes:
        features (str): Name of the features.
        question (str): The question.
        row (str): Name of the row.
        settings (Settings): Of the row.
        key (str): Of features and settings; what is the same has the same.
    """

    features: str
    question: str
    row: str
    settings: Settings
    key: str


class Study(NamedTuple):
    """A plan, resolved.

    Attributes:
        plan (AblationPlan): The plan.
        work_dir (Path): Where features and results are.
        keys (dict[str, str]): Of each of the plan's features.
        cells (tuple[Cell]): Every row on all features.
    """

    plan: AblationPlan
    work_dir: Path
    keys: Dict[str, str]
    cells: Tuple[Cell, ...]

    def features_file(self, name: str) -> Path:
        """Where features are."""
        return features_file(self.work_dir, self.keys[name])


def features_file(work_dir: Path, key: str) -> Path:
    """Where features of a key are; a file of JSON beside it tells of them."""
    return work_dir / 'features' / f'{key}.pth'


def result_file(work_dir: Path, key: str, seed: int) -> Path:
    """Where the result of a cell's key is."""
    return work_dir / 'results' / key / f'seed{seed}.json'


def read_results(work_dir: Path, key: str) -> Dict[int, dict]:
    """Every result of a cell's key, by seed."""
    paths = result_file(work_dir, key, 0).parent.glob('seed*.json')
    results = [json.loads(path.read_text()) for path in paths]
    return {r['seed']: r for r in sorted(results, key=lambda r: r['seed'])}


def study(plan: AblationPlan, work_dir: Path) -> Study:
    """Resolve a plan.

    Args:
        plan (AblationPlan): The plan. Its files must be there.
        work_dir (Path): Where features and results are, or will be.

    Raises:
        ValueError: If a row does not fit a config.
    """
    keys = {f.name: features_key(f) for f in plan.features}
    cells = []
    for features in plan.features:
        config = Config.fromfile(features.config)
        for question, row in _rows(plan):
            try:
                settings = resolve(config, row)
            except ValueError as error:
                raise ValueError(
                    f'{question.question}: {error} ({features.config})'
                ) from error
            key = f'{keys[features.name]}-{settings.key()}'
            names = features.name, question.question, row.name
            cells.append(Cell(*names, settings, key))
    return Study(plan, work_dir, keys, tuple(cells))


def store_keys(found: Study) -> None:
    """Keep which row has which results, for reports."""
    rows: Dict[str, Dict[str, Dict[str, str]]] = {}
    for cell in found.cells:
        of_question = rows.setdefault(cell.question, {})
        of_question.setdefault(cell.row, {})[cell.features] = cell.key
    content = dict(features=found.keys, rows=rows)
    write_json(found.work_dir / KEYS, content)


def extractions(found: Study, tasks: List[Task]) -> List[Task]:
    """Extract the features that the tasks need and that are missing."""
    needed = {task.needs for task in tasks}
    missing = {}
    for features in found.plan.features:
        path = found.features_file(features.name)
        if path in needed and not path.is_file():
            call = partial(extract, features, path)
            missing[path] = Task(f'features of {features.name}', call)
    return list(missing.values())


def trainings(found: Study, seeds: int) -> List[Task]:
    """A task for each training of which a result is missing, by seed.

    Settings that differ in their test alone share a training, and the same
    settings, whatever they are called, are trained once.
    """
    groups: Dict[str, Dict[str, Cell]] = {}
    for cell in found.cells:
        training = found.keys[cell.features] + cell.settings.training_key()
        groups.setdefault(training, {}).setdefault(cell.key, cell)
    tasks = []
    for seed in range(seeds):
        for group in groups.values():
            missing = [
                (cell.settings, path)
                for cell in group.values()
                for path in [result_file(found.work_dir, cell.key, seed)]
                if not path.is_file()
            ]
            if missing:
                cell = next(iter(group.values()))
                path = found.features_file(cell.features)
                call = partial(train_and_test, path, seed, missing)
                where = f'{cell.features}: {cell.question}'
                name = f'{where}: {cell.row}, seed {seed}'
                tasks.append(Task(name, call, path))
    return tasks


def train_and_test(
    features: Path, seed: int, results: List[Tuple[Settings, Path]]
) -> None:
    """Train a head and write a result for each test of it.

    Args:
        features (Path): File of the features.
        seed (int): Of the training.
        results (list[tuple[Settings, Path]]): Settings, which differ in their
            test alone, and where to write what they give.
    """
    started = time.process_time()
    found = _cached(features)
    model = train_head(found, results[0][0], seed)
    trained_s = time.process_time() - started
    for settings, path in results:
        objects = evaluate_head(model, found, settings.test_cfg)
        content = dict(
            seed=seed,
            settings=settings._asdict(),
            figures=recall_figures(objects),
            training_s=trained_s,
            environment=environment(torch.device('cpu')),
        )
        write_json(path, content)


def write_json(path: Path, content: object) -> None:
    """Write a file that is whole as soon as it is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix('.part')
    part.write_text(json.dumps(content, indent=1, default=repr) + '\n')
    part.replace(path)


# Tasks come in turns of the features; reading them takes a moment.
@lru_cache(maxsize=1)
def _cached(path: Path) -> Features:
    return load_features(path)


def _rows(plan: AblationPlan) -> Iterator[Tuple[Question, Row]]:
    for question in plan.questions:
        for row in question.rows:
            yield question, row
