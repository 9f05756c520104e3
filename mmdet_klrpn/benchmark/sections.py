"""What a report says, in order, for whichever form it takes."""

from typing import List, NamedTuple, Sequence, Tuple

from mmengine.config import Config

from . import tables, words
from .comparison import STARTED_WITH, differences, outside
from .plan import Plan
from .plots import Plot, plots
from .quantities import COSTS, DASH, PRECISIONS, RECALLS
from .summary import PairSummary
from .tables import Table
from .trade_off import statement


class Fold(NamedTuple):
    """Text that a reader may unfold."""

    title: str
    text: str


class Section(NamedTuple):
    """A part of a report.

    Attributes:
        title (str): Its heading.
        paragraphs (tuple[str]): What it says first.
        tables (tuple[Table]): Then its tables.
        plots (tuple[Plot]): Then its plots.
        folded (tuple[Table | Fold]): Last, what is long.
    """

    title: str
    paragraphs: Tuple[str, ...] = ()
    tables: Tuple[Table, ...] = ()
    plots: Tuple[Plot, ...] = ()
    folded: Tuple[object, ...] = ()


def sections(plan: Plan, summaries: Sequence[PairSummary]) -> List[Section]:
    """Every section of a report."""
    measured = [summary for summary in summaries if summary.seeds]
    return [
        _overview(plan, summaries),
        *map(_pair, measured),
        Section(
            'Second stage',
            (words.TRADE_OFF,),
            (tables.by_proposals(measured),),
        ),
        Section('Cost', words.COSTS, (tables.means('Cost', COSTS, measured),)),
        Section('What the intervals mean', words.INTERVALS),
        _provenance(measured),
    ]


def _overview(plan: Plan, summaries: Sequence[PairSummary]) -> Section:
    lines = [f'{s.pair.name}: {words.verdict(s)}' for s in summaries]
    measured = [summary for summary in summaries if summary.seeds]
    return Section(
        'In short',
        (*([plan.note] if plan.note else []), *lines),
        (
            tables.means('Detections, in points', PRECISIONS, measured),
            tables.means('Proposals alone, in points', RECALLS, measured),
        ),
    )


def _pair(summary: PairSummary) -> Section:
    configs = [runs[0]['resolved_config'] for _, runs in summary.models]
    return Section(
        summary.pair.name,
        (
            words.verdict(summary),
            statement(summary),
            *summary.notes,
            _compared(configs),
        ),
        (tables.differences(summary),),
        tuple(plots(summary)),
        (
            tables.by_seed(summary),
            *(
                Fold(f'Config of {model}: {runs[0]["config"]}', text)
                for (model, runs), text in zip(summary.models, configs)
            ),
        ),
    )


def _compared(configs: Sequence[str]) -> str:
    """In what the resolved configs differ."""
    first, second = (
        Config.fromstring(text, '.py').to_dict() for text in configs
    )
    found = outside(differences(first, second), STARTED_WITH)
    return 'The configs differ in ' + '; '.join(map(str, found)) + '.'


def _provenance(summaries: Sequence[PairSummary]) -> Section:
    """Each value that versions, commit and hardware have, and of how many."""
    runs = [
        run
        for summary in summaries
        for _, runs in summary.models
        for run in runs
    ]
    rows = []
    for part in ('environment', 'training'):
        for key in runs[0][part] if runs else ():
            values = sorted({str(run[part][key] or DASH) for run in runs})
            name = f'training: {key}' if part == 'training' else key
            rows.append([name, ', '.join(values)])
    return Section(
        'Where it was measured',
        (f'{len(runs)} runs.',),
        (Table('Versions and hardware', ['', 'value'], rows),),
    )
