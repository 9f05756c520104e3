"""What a screening has to train, and where its results are."""

import ast
import hashlib
import inspect
import json
from copy import deepcopy
from functools import lru_cache, partial
from pathlib import Path
from typing import Callable, Dict, List, NamedTuple, Optional

import torch
from mmdet.registry import MODELS
from mmengine.config import Config

from mmdet_klrpn import models
from mmdet_klrpn.benchmark.configs import resolve
from mmdet_klrpn.benchmark.cost import environment
from mmdet_klrpn.utils.output_files import write_whole

from .features import extract, load_features
from .plan import Screening, Settings
from .training import build_head, evaluate_head, train_head

_PARTS = dict(
    rpn_head='model.rpn_head',
    train_cfg='model.train_cfg.rpn',
    test_cfg='model.test_cfg.rpn',
    lr='optim_wrapper.optimizer.lr',
)

# Options of a second look that training does not depend on.
_TEST_OPTIONS = ('num', 'power')


class Cell(NamedTuple):
    """A row of a question on one set of features, each by its name."""

    features: str
    question: str
    row: str
    config: Config  # the features' with the row's changes
    checkpoint: Optional[str]  # weights of the features
    file: Path  # of the features, named by a hash of data and network
    training: str  # a hash, the same for cells that train the same head
    folder: Path  # of results, the same for equal cells

    def result(self, seed: int) -> Path:
        """File of a seed's result."""
        return self.folder / f'seed{seed}.json'


def cells_of(plan: Screening) -> List[Cell]:
    """Every row on every set of features, each question's reference first.

    Raises:
        FileNotFoundError: If a config or checkpoint is missing.
        ValueError: If a row does not fit a config.
    """
    cells = []
    for name, detector in plan.features.items():
        base = resolve(detector)
        for part in ('dataloader', 'evaluator'):
            base[f'test_{part}'] = base[f'{plan.split}_{part}']
        checkpoint = detector.checkpoint
        key = _features_key(name, base, checkpoint)
        file = plan.work_dir / 'features' / f'{key}.pth'
        for question in plan.questions:
            for row, settings in plan.rows_of(question).items():
                try:
                    config = change(base, settings)
                except (KeyError, TypeError, ValueError) as error:
                    place = f'{question}: {row} ({detector.config})'
                    raise ValueError(f'{place}: {error}') from error
                training = _digest(key, *_training_settings(config))
                own = _digest(training, test_settings(config))
                folder = plan.work_dir / 'results' / own
                names = name, question, row
                files = checkpoint, file, training, folder
                cells.append(Cell(*names, config, *files))
    return cells


def change(config: Config, settings: Settings) -> Config:
    """A copy of a config with a row's changes, from which a head is built."""
    changes = {}
    for key, value in settings.items():
        part, _, rest = key.partition('.')
        if part not in _PARTS or (part == 'lr') != (not rest):
            raise ValueError(f'{key} must begin with one of {list(_PARTS)}')
        key = '.'.join(filter(None, (_PARTS[part], rest)))
        node = config.to_dict()
        # A misspelt key of the head fails when the head is built.
        for name in key.split('.') if part != 'rpn_head' else ():
            if not isinstance(node, dict) or name not in node:
                raise ValueError(f'the config has no {key}')
            node = node[name]
        changes[key] = value
    config = config.copy()
    # merge_from_dict removes _delete_ from what it is given.
    config.merge_from_dict(deepcopy(changes))
    build_head(config)
    return config


def _features_key(name: str, config: Config, checkpoint: Optional[str]) -> str:
    model = config.model
    if 'max_epochs' not in config.train_cfg:
        raise ValueError(f'{name}: the config must set train_cfg.max_epochs')
    if not checkpoint and model.get('neck'):
        raise ValueError(
            f'{name}: the features of an untrained neck are random; give the '
            'checkpoint of a trained detector'
        )
    init_cfg = model.backbone.get('init_cfg') or {}
    weights = Path(checkpoint or init_cfg.get('checkpoint', ''))
    if checkpoint and not weights.is_file():
        raise FileNotFoundError(f'{name}: no checkpoint {checkpoint}')
    return _digest(
        [model.get(k) for k in ('data_preprocessor', 'backbone', 'neck')],
        [config.train_dataloader, config.test_dataloader, config.train_cfg],
        weights.read_bytes() if weights.is_file() else str(weights),
    )


def test_settings(config: Config) -> Dict[str, dict]:
    """The settings that matter after training alone."""
    second_look = getattr(build_head(config), 'second_look', None)
    names = _TEST_OPTIONS if second_look is not None else ()
    return dict(
        test_cfg=config.model.test_cfg.rpn,
        second_look={name: getattr(second_look, name) for name in names},
    )


def _training_settings(config: Config) -> list:
    """All that a head depends on, with defaults that the config leaves out."""
    head = dict(config.model.rpn_head)
    if head.get('second_look') is not None:
        head['second_look'] = {
            name: value
            for name, value in head['second_look'].items()
            if name not in _TEST_OPTIONS
        }
    for cls in MODELS.get(head['type']).__mro__:
        for parameter in inspect.signature(cls.__init__).parameters.values():
            if parameter.default is not parameter.empty:
                head.setdefault(parameter.name, parameter.default)
    schedule = config.optim_wrapper, config.get('param_scheduler')
    return [head, config.model.train_cfg.rpn, schedule, code_digest()]


def _digest(*content: object) -> str:
    text = json.dumps(content, sort_keys=True, default=repr)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@lru_cache(maxsize=None)
def code_digest() -> str:
    """A hash of the package's models, whatever their comments."""
    files = sorted(Path(models.__file__).parent.rglob('*.py'))
    return _digest([ast.dump(ast.parse(file.read_text())) for file in files])


def extractions(cells: List[Cell]) -> Dict[str, Callable]:
    """A call for each set of features that is missing, by its name."""
    return {
        c.features: partial(extract, c.config, c.checkpoint, c.file)
        for c in cells
        if not c.file.is_file()
    }


def trainings(cells: List[Cell], seeds: int) -> Dict[str, Callable]:
    """A call for each training of which a result is missing, by its name."""
    calls = {}
    for seed in range(seeds):
        groups: Dict[str, Dict[Path, Cell]] = {}
        for cell in cells:
            if not cell.result(seed).is_file():
                group = groups.setdefault(cell.training, {})
                group.setdefault(cell.folder, cell)
        for group in groups.values():
            own = list(group.values())
            name = ': '.join(own[0][:3])
            calls[f'{name}, seed {seed}'] = partial(train_and_test, own, seed)
    return calls


def train_and_test(cells: List[Cell], seed: int) -> None:
    """Train a head, and write the results of cells that test it alone."""
    features = load_features(cells[0].file)
    model = train_head(features, cells[0].config, seed)
    for cell in cells:
        recall = evaluate_head(model, features, **test_settings(cell.config))
        versions = environment(torch.device('cpu'))
        content = dict(recall=recall.to_dict('records'), environment=versions)
        file = cell.result(seed)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, json.dumps(content))
