"""Whether two detectors differ in their RPN head alone."""

from pathlib import Path
from typing import Iterator, NamedTuple, Sequence, Tuple

from mmengine.config import Config

from .plan import Pair

# The one thing that is compared.
COMPARED = 'model.rpn_head'
# What mmdet's tools/train.py writes into a config to say how it was started.
STARTED_WITH = (
    'auto_scale_lr.enable',
    'launcher',
    'load_from',
    'randomness',
    'resume',
    'work_dir',
)
_ABSENT = '(absent)'


class Difference(NamedTuple):
    """A key, dotted, and its values in two configs."""

    key: str
    first: object
    second: object

    def __str__(self) -> str:
        """The key, then both values."""
        return f'{self.key}: {self.first!r} -> {self.second!r}'


def differences(first: dict, second: dict) -> Tuple[Difference, ...]:
    """What differs between two resolved configs, by key.

    Lists and tuples are the same to whoever reads a config, and a key set to
    None is a key that is absent.
    """
    left, right = dict(_flatten(first)), dict(_flatten(second))
    return tuple(
        Difference(key, left.get(key, _ABSENT), right.get(key, _ABSENT))
        for key in sorted(left.keys() | right.keys())
        if left.get(key, _ABSENT) != right.get(key, _ABSENT)
    )


def _flatten(node: object, key: str = '') -> Iterator[Tuple[str, object]]:
    """Leaves of a config, with the dotted keys that lead to them."""
    if isinstance(node, (list, tuple)):
        node = {str(i): value for i, value in enumerate(node)}
        if not node:
            yield key, []
    if isinstance(node, dict):
        for name, value in node.items():
            yield from _flatten(value, f'{key}.{name}' if key else str(name))
    elif node is not None:
        yield key, node


def outside(
    found: Sequence[Difference], allowed: Sequence[str]
) -> Tuple[Difference, ...]:
    """Differences that are in none of the allowed subtrees."""
    return tuple(
        difference
        for difference in found
        if not any(
            difference.key == key or difference.key.startswith(f'{key}.')
            for key in allowed
        )
    )


def check_pair(pair: Pair) -> Tuple[Difference, ...]:
    """Check that the configs of a pair differ in the RPN head alone.

    Args:
        pair (Pair): Its configs are resolved from their files.

    Returns:
        tuple[Difference]: All in which they do differ.

    Raises:
        ValueError: If they differ in anything else that the plan does not
            allow, or not at all.
    """
    first, second = (Config.fromfile(path).to_dict() for path in pair.configs)
    found = differences(first, second)
    refused = outside(found, (COMPARED, *pair.allow))
    if refused:
        raise ValueError(
            f'{pair.name}: {pair.baseline} and {pair.kl_rpn} are no pair, '
            f'since beside {COMPARED} they differ in\n'
            + '\n'.join(f'  {difference}' for difference in refused)
            + '\nMake them the same, or name the keys under `allow`.'
        )
    if not found:
        raise ValueError(f'{pair.name}: both configs are the same')
    return found


def check_namesakes(named: Sequence[Tuple[str, str]]) -> None:
    """Check that runs under one name are of one detector.

    Args:
        named (Sequence[tuple[str, str]]): Name and config file of each run.

    Raises:
        ValueError: If two differ in more than how they were started.
    """
    first = {}
    for name, path in named:
        other = first.setdefault(name, path)
        if other == path:
            continue
        configs = (Config.fromfile(each).to_dict() for each in (other, path))
        found = outside(differences(*configs), STARTED_WITH)
        if found:
            raise ValueError(
                f'{other} and {path} are both called {name}, as seeds of one '
                f'detector are, but differ in {found[0]}: rename one'
            )


def check_run(config: Path, dumped: Path, seed: int) -> None:
    """Check that a run which exists is the one that a plan asks for.

    Args:
        config (Path): The plan's config.
        dumped (Path): The config that the run left in its folder.
        seed (int): The plan's seed.

    Raises:
        ValueError: If the run was trained with another config or seed.
    """
    wanted = Config.fromfile(config).to_dict()
    trained = Config.fromfile(dumped).to_dict()
    found = outside(differences(trained, wanted), STARTED_WITH)
    randomness = [dict(c.get('randomness') or {}) for c in (trained, wanted)]
    randomness[1]['seed'] = seed
    found += differences(*(dict(randomness=value) for value in randomness))
    if found:
        raise ValueError(
            f'{dumped.parent} has a run of another config than {config} '
            f'with seed {seed}:\n'
            + '\n'.join(f'  {difference}' for difference in found)
            + '\nMove it away, or choose another --work-dir.'
        )
