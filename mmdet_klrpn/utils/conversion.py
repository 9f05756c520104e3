"""Convert a config of any detector with an RPNHead to KL-RPN."""

from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Iterator, List, Sequence, Tuple, Union

from mmdet.models.dense_heads import RPNHead
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.utils import get_installed_path

import mmdet_klrpn.models  # noqa: F401

from .errors import suggest
from .package_folders import package_folder

# Why other region proposal heads of mmdet cannot be replaced.
OTHER_HEADS = {
    'CascadeRPNHead': 'cascade RPN refines its anchors in stages',
    'EmbeddingRPNHead': 'its proposals are learned, without anchors',
    'GARPNHead': 'guided anchoring predicts its anchors',
    'KLRPNHead': 'it is KL-RPN already',
}
Keys = Tuple[str, ...]
Evaluator = Union[dict, Sequence[dict], None]


def mmdet_configs() -> Path:
    """Folder of the configs that the installed mmdet ships."""
    return Path(get_installed_path('mmdet')) / '.mim' / 'configs'


def to_kl_rpn(config: Config) -> dict:
    """Find what a config must override to use KL-RPN instead of its RPN.

    Args:
        config (Config): Config of a detector with an RPNHead anywhere in
            ``model``. It is not changed.

    Returns:
        dict: The head's type, ``custom_imports`` with this package, and
        evaluators if their metric fails on numpy 1.24 and later.

    Raises:
        ValueError: If it has no RPNHead that KLRPNHead can replace.
    """
    head: dict = dict(type='KLRPNHead')
    keys = find_rpn_head(config)
    _check_replaceable(config, keys)
    for key in reversed(keys):
        head = {key: head}
    overrides = {}
    given = config.get('custom_imports') or {}
    modules = given.get('imports', [])
    modules = [modules] if isinstance(modules, str) else list(modules)
    if 'mmdet_klrpn' not in modules:
        overrides['custom_imports'] = dict(
            imports=[*modules, 'mmdet_klrpn'],
            allow_failed_imports=given.get('allow_failed_imports', False),
        )
    overrides.update(head)
    for name in ('val_evaluator', 'test_evaluator'):
        old = config.get(name)
        new = without_proposal_fast(old)
        if isinstance(old, dict) and isinstance(new, dict):
            new = {k: v for k, v in new.items() if old.get(k) != v}  # inherits
        if new and new != old:
            overrides[name] = new
    return overrides


def without_proposal_fast(evaluator: Evaluator) -> Evaluator:
    """Replace the metric 'proposal_fast' in an evaluator.

    Args:
        evaluator (dict | Sequence[dict], optional): A metric, several, or an
            evaluator with the key ``metrics``. It is not changed.

    Returns:
        dict | Sequence[dict], optional: The same with ProposalMetric instead,
        and the other metrics of the entry.
    """
    if isinstance(evaluator, (list, tuple)):
        metrics = []
        for part in map(without_proposal_fast, evaluator):
            metrics += part if isinstance(part, list) else [part]
        return evaluator if metrics == list(evaluator) else metrics
    if not evaluator:
        return evaluator
    if 'metrics' in evaluator:
        metrics = without_proposal_fast(evaluator['metrics'])
        return {**evaluator, 'metrics': metrics}
    names = evaluator.get('metric', [])
    others = [names] if isinstance(names, str) else list(names)
    if 'proposal_fast' not in others or evaluator.get('format_only'):
        return evaluator
    others.remove('proposal_fast')
    recall = {'proposal_nums': (100, 300, 1000), **evaluator}
    recall['type'] = 'ProposalMetric'
    del recall['metric']
    return [{**evaluator, 'metric': others}, recall] if others else recall


def find_rpn_head(config: Config) -> Keys:
    """Find the keys to the only RPN head of a config, from 'model' on.

    Args:
        config (Config): Config of a detector, or of a model with one.

    Raises:
        ValueError: If it has none, or several.
    """
    found = list(_rpn_heads(config.get('model') or {}, ('model',)))
    if not found:
        raise ValueError(
            'the model has no rpn_head: it detects in one stage, or takes '
            'its proposals from elsewhere'
        )
    if len(found) > 1:
        places = ', '.join(map('.'.join, found))
        raise ValueError(f'the model has several RPN heads: {places}')
    return found[0]


def _rpn_heads(node: dict, keys: Keys) -> Iterator[Keys]:
    """Keys that lead to each rpn_head below a node."""
    for key, value in node.items():
        if not isinstance(value, dict):
            continue
        if key == 'rpn_head':
            yield (*keys, key)
        else:
            yield from _rpn_heads(value, (*keys, key))


def _check_replaceable(config: Config, keys: Keys) -> None:
    """Raise a ValueError unless a KLRPNHead takes the head's arguments."""
    place = '.'.join(keys)
    head = reduce(getitem, keys, config)
    with DefaultScope.overwrite_default_scope('mmdet'):
        cls = MODELS.get(head['type'])
        if cls is not RPNHead:
            name = head['type'].rpartition('.')[2]
            reason = OTHER_HEADS.get(name, 'it may do more than propose')
            raise ValueError(f'{place} is {name}, not RPNHead: {reason}')
        try:
            MODELS.build(dict(head, type='KLRPNHead'))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f'{place}: {error}') from error


def resolve_config(name: str) -> Path:
    """Find the file of a config by path or name, here or in mmdet.

    Args:
        name (str): A path, or the name or path of a config in the folder of
            this package or of mmdet, with or without 'configs/' and '.py'.
            With 'mmdet::', only mmdet's.

    Raises:
        FileNotFoundError: If there is no such config, or more than one.
    """
    path = Path(name)
    if path.is_file():
        return path
    roots = [package_folder('configs'), mmdet_configs()]
    if name.startswith('mmdet::'):
        name, roots = name[len('mmdet::') :], roots[1:]
    file_name = name if name.endswith('.py') else f'{name}.py'
    known: List[str] = []
    for root in roots:
        paths = sorted(root.rglob('*.py'))
        known += [path.name for path in paths]
        places = [path.relative_to(root).as_posix() for path in paths]
        end = f'/{file_name}'
        found = [p for p in places if f'/configs/{p}'.endswith(end)]
        if file_name in places:
            found = [file_name]
        if len(found) > 1:
            raise FileNotFoundError(
                f'{name} is several configs in {root}, of which to name one: '
                f'{", ".join(found)}'
            )
        if found:
            return root / found[0]
    raise FileNotFoundError(
        f'{name}{suggest(Path(name).name, known)} is neither a file nor a '
        f'config in {" or ".join(map(str, roots))}'
    )


def root_cause(error: BaseException) -> BaseException:
    """Find the error behind a failed import, which mmengine hides."""
    while isinstance(error, ImportError):
        cause = error.__cause__ or error.__context__
        if cause is None:
            break
        error = cause
    return error
