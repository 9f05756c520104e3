"""Configs of a plan's detectors, and where they differ."""

import inspect
from typing import Dict, Iterator, NamedTuple, Sequence, Tuple

from mmengine.config import Config
from mmengine.runner import Runner

from ..utils.conversion import (
    find_rpn_head,
    resolve_config,
    root_cause,
    without_proposal_fast,
)
from .fields import check_known
from .plan import Comparison, Detector, Plan
from .runs import Run

# Keys that mmengine's Runner reads: others, such as train_pipeline, only help
# to write a config.
_READ = {
    *(set(inspect.signature(Runner.__init__).parameters) - {'self', 'cfg'}),
    *('find_unused_parameters', 'model_wrapper_cfg', 'sync_bn'),
    *('activation_checkpointing', 'compile', 'efficient_conv_bn_eval'),
}
# How a run was started, not what it trains.
STARTED_WITH = (
    *('launcher', 'resume', 'work_dir', 'experiment_name'),
    *('log_level', 'log_processor', 'visualizer'),
)
# What changes nothing that is measured: metrics and seeds are the benchmark's.
_UNMEASURED = (
    *STARTED_WITH,
    *('val_evaluator', 'test_evaluator', 'randomness.seed'),
    *(f'default_hooks.{x}' for x in ('checkpoint', 'logger', 'visualization')),
)
_MOST = 8  # differences of two configs that are named


class Difference(NamedTuple):
    """A dotted key, and its values in two configs."""

    key: str
    first: object
    second: object

    def __str__(self) -> str:
        return f'{self.key} is {self.first!r} and {self.second!r}'


def resolve(detector: Detector) -> Config:
    """The config of a detector, as it is trained or measured.

    A metric 'proposal_fast', which fails on numpy 1.24 and later, becomes a
    ProposalMetric. Where nothing is said of it, two checkpoints are kept: the
    last is measured, and the one before is there while it is written.
    ``load_from`` is the detector's checkpoint, if one is given.

    Raises:
        FileNotFoundError: If there is no config of the name.
        ValueError: If it cannot be read, or an option changes nothing.
    """
    path = resolve_config(detector.config)
    try:
        config = Config.fromfile(path)
    except Exception as error:  # whatever a config's own code may raise
        raise ValueError(f'{path}: {root_cause(error)}') from error
    known = sorted({*_READ, 'custom_imports'})
    for option in detector.cfg_options:
        check_known(option.split('.')[0], known, 'cfg_options: a key')
    config.merge_from_dict(detector.cfg_options)
    for name in ('val_evaluator', 'test_evaluator'):
        if config.get(name):
            config[name] = without_proposal_fast(config[name])
    hook = (config.get('default_hooks') or {}).get('checkpoint')
    if hook:
        hook.setdefault('max_keep_ckpts', 2)
    if detector.checkpoint:
        config.load_from = detector.checkpoint
    return config


def differences(
    first: Config, second: Config, ignore: Sequence[str] = ()
) -> Tuple[Difference, ...]:
    """Where two configs differ in what mmengine's Runner reads.

    Lists and tuples are the same to whoever reads a config, as are None and a
    key that is absent. ``_scope_``, which mmengine adds, says nothing, and
    dotted keys to ignore stand for all below them.
    """
    left, right = (dict(leaves(c.to_dict())) for c in (first, second))
    found = (
        Difference(key, left.get(key, 'absent'), right.get(key, 'absent'))
        for key in sorted(left.keys() | right.keys())
        if key.split('.')[0] in _READ
        and not any(f'{key}.'.startswith(f'{each}.') for each in ignore)
    )
    return tuple(each for each in found if each.first != each.second)


def leaves(node: object, key: str = '') -> Iterator[Tuple[str, object]]:
    """Leaves of a config, with the dotted keys that lead to them."""
    if isinstance(node, (list, tuple)):
        node = dict(enumerate(node)) or '[]'
    if node == {} and key:  # as for an option that takes its defaults
        node = '{}'
    if isinstance(node, dict):
        for name, value in node.items():
            if name != '_scope_':
                yield from leaves(value, f'{key}.{name}' if key else name)
    elif node is not None:
        yield key, node


def check_comparison(
    comparison: Comparison, plan: Plan, configs: Dict[str, Config]
) -> None:
    """Check that two detectors differ in their RPN head, and in it alone.

    Raises:
        ValueError: If they differ elsewhere, or not at all.
    """
    first, second = (configs[name] for name in comparison.pair)
    ignore = list(_UNMEASURED)
    if not differences(first, second, ignore):
        raise ValueError('both are the same: compare others')
    if any(d.checkpoint for d in plan.detectors if d.name in comparison.pair):
        ignore.append('load_from')
    for config in (first, second):
        model = '.'.join(find_rpn_head(config)[:-1])
        ignore += [f'{model}.rpn_head', f'{model}.train_cfg.rpn']
    found = differences(first, second, (*ignore, *comparison.allow))
    if found:
        more = f' and {len(found) - _MOST} more' * (len(found) > _MOST)
        raise ValueError(
            f'beside the RPN head they differ: '
            f'{"; ".join(map(str, found[:_MOST]))}{more}. Make them the same, '
            'or name the keys, or one above them, under `allow`'
        )


def check_run(run: Run, config: Config) -> None:
    """Check that a run, if it exists, is the one that is asked for.

    Raises:
        ValueError: If it was started with another config or seed, or is none
            of a benchmark.
    """
    if not run.config.is_file():
        if any(run.folder.glob('*.pth')):
            raise ValueError(
                f'{run.folder} holds checkpoints of something else: move it '
                'away, or choose another work_dir'
            )
        return
    old, new = Config.fromfile(run.config), Config(config.to_dict())
    if 'randomness' in old:
        new.randomness = dict(config.get('randomness') or {}, seed=run.seed)
    # mmdet's train.py writes one, and drops the other when it resumes.
    lost = ['auto_scale_lr.enable', *['load_from'] * bool(old.get('resume'))]
    found = differences(old, new, (*STARTED_WITH, *lost))
    if found:
        raise ValueError(
            f'{run.folder} was started with another config, of which '
            f'{"; ".join(map(str, found[:_MOST]))}: move it away, or choose '
            'another work_dir'
        )
