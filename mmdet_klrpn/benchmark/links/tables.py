"""Links of several detectors side by side, as a page of Markdown."""

from typing import Dict, List, NamedTuple, Optional, Sequence

from ..quantities import DASH
from ..statistics import Difference, compare
from ..tables import Table
from .words import DEFINITIONS, LINKS, Link

_MUST_AGREE = (
    'classes',
    'size_edges',
    'test_images',
    'test_objects',
    'train_images',
    'train_objects',
)


class Detector(NamedTuple):
    """Runs of one detector.

    Attributes:
        letter (str): What rows call it.
        model (str): Its name.
        runs (dict[int, dict]): Of :func:`measure_links`, by seed.
    """

    letter: str
    model: str
    runs: Dict[int, dict]

    def values(
        self, link: str, row: str, column: str, seeds: Sequence[int]
    ) -> Optional[List[float]]:
        """A figure of some seeds; None if one of them has none."""
        found = [
            self.runs[seed]['links'][link][row].get(column) for seed in seeds
        ]
        return None if None in found else found

    def mean(self, link: str, row: str, column: str) -> Optional[float]:
        """A figure's mean over seeds; None if a seed has none."""
        found = self.values(link, row, column, list(self.runs))
        return None if found is None else sum(found) / len(found)


def group_runs(runs: Sequence[dict]) -> List[Detector]:
    """Runs by the name of their detector, in the order in which it appears.

    Args:
        runs (Sequence[dict]): Of :func:`measure_links`, with their ``model``
            and ``seed``.

    Raises:
        ValueError: If a seed of a detector is there twice, or runs were
            measured on other objects.
    """
    for run in runs:
        for key in _MUST_AGREE:
            if run[key] != runs[0][key]:
                raise ValueError(
                    f'{run["checkpoint"]} has {key} {run[key]}, but '
                    f'{runs[0]["checkpoint"]} has {runs[0][key]}: compare '
                    'detectors of the same data sets'
                )
    by_model: Dict[str, Dict[int, dict]] = {}
    for run in runs:
        own = by_model.setdefault(run['model'], {})
        if run['seed'] in own:
            raise ValueError(
                f'{run["model"]} has seed {run["seed"]} twice: '
                f'{own[run["seed"]]["checkpoint"]} and {run["checkpoint"]}'
            )
        own[run['seed']] = run
    return [
        Detector(chr(ord('A') + i), model, own)
        for i, (model, own) in enumerate(by_model.items())
    ]


def difference(
    pair: Sequence[Detector], link: str, row: str, column: str
) -> Optional[Difference]:
    """The second of a pair minus the first, over the seeds of both."""
    seeds = sorted(set(pair[0].runs) & set(pair[1].runs))
    values = [d.values(link, row, column, seeds) for d in pair]
    return compare(*values) if seeds and None not in values else None


def link_table(detectors: Sequence[Detector], link: Link) -> Table:
    """A row for each figure and detector, and for what the others differ.

    Args:
        detectors (Sequence[Detector]): Differences are from the first.
        link (Link): Which.
    """
    first, *others = detectors
    rows = next(iter(first.runs.values()))['links'][link.name]
    columns = list(next(iter(rows.values())))
    lines = []
    for row in rows:
        for detector in detectors:
            means = [detector.mean(link.name, row, c) for c in columns]
            name = f'{row}, {detector.letter}'
            lines.append([name, *map(link.show, means)])
        for other in others:
            found = [
                difference((first, other), link.name, row, c) for c in columns
            ]
            name = f'{row}, {other.letter} \N{MINUS SIGN} {first.letter}'
            lines.append([name, *(_show(link, each) for each in found)])
    return Table(link.title, ['', *columns], lines)


def _show(link: Link, found: Optional[Difference]) -> str:
    """A difference with its interval, in bold if that excludes 0."""
    if found is None:
        return DASH
    shown = link.show(found.mean, '+')
    if found.clear:
        shown = f'**{shown}**'
    if found.over_seeds is None:
        return shown
    low, high = (link.show(end, '+') for end in found.over_seeds)
    return f'{shown} ({low} to {high})'


def format_page(runs: Sequence[dict]) -> str:
    """All links of all runs, and what they mean.

    Args:
        runs (Sequence[dict]): Of :func:`measure_links`, at least one, each
            with its ``model`` and ``seed``.

    Raises:
        ValueError: See :func:`group_runs`.
    """
    detectors = group_runs(runs)
    parts = ['# From proposals to detections', _what(detectors)]
    parts += [DEFINITIONS]
    for link in LINKS:
        table = link_table(detectors, link).markdown()
        parts += [f'## {link.title}', link.meaning, table]
    return '\n\n'.join(parts) + '\n'


def _what(detectors: Sequence[Detector]) -> str:
    """Which detectors, seeds and objects the tables are of."""
    lines = []
    for detector in detectors:
        seeds = ', '.join(map(str, sorted(detector.runs)))
        numbers = {run['num_proposals'] for run in detector.runs.values()}
        lines.append(
            f'- {detector.letter}: `{detector.model}`, seeds {seeds}, '
            f'{" or ".join(map(str, sorted(numbers)))} proposals an image'
        )
    run = next(iter(detectors[0].runs.values()))
    edges = ', '.join(f'{edge:.1f}' for edge in run['size_edges'])
    return '\n'.join(lines) + (
        f'\n\n{run["test_objects"]} objects in {run["test_images"]} test '
        f'images, {run["train_objects"]} in {run["train_images"]} training '
        f"images. Quartiles of the test objects' sizes: {edges} pixels."
    )
