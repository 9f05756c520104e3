"""Tables of a report: as cells, Markdown and CSV."""

import csv
import io
from typing import Iterable, List, NamedTuple, Optional, Sequence

from .quantities import COSTS, DASH, PRECISIONS, RECALLS, Quantity
from .statistics import Interval
from .summary import PairSummary
from .trade_off import points


class Table(NamedTuple):
    """Cells of a table.

    Attributes:
        title (str): Its heading.
        header (tuple[str]): Of its columns.
        rows (list[list[str]]): Cells; of a difference whose intervals exclude
            0, within ``**``.
    """

    title: str
    header: Sequence[str]
    rows: List[List[str]]

    def markdown(self) -> str:
        """As a table of Markdown."""
        rule = ['---'] + ['---:'] * (len(self.header) - 1)
        lines = [self.header, rule, *self.rows]
        return '\n'.join('| ' + ' | '.join(line) + ' |' for line in lines)


def _mean(quantity: Quantity, runs: Sequence[dict]) -> Optional[float]:
    values = [quantity.read(run) for run in runs]
    if not values or None in values:
        return None
    return sum(values) / len(values)


def show_interval(
    quantity: Quantity, interval: Optional[Interval], sign: str = '+'
) -> str:
    """An interval as 'low to high'; a dash if there is none."""
    if interval is None:
        return DASH
    low, high = (quantity.show(end, sign) for end in interval)
    return f'{low} to {high}'


def means(
    title: str,
    quantities: Sequence[Quantity],
    summaries: Sequence[PairSummary],
) -> Table:
    """A row for each model: means over seeds."""
    rows = []
    for summary in summaries:
        for model, runs in summary.models:
            cells = [q.show(_mean(q, runs)) for q in quantities]
            rows.append([f'{summary.pair.name}, {model}', *cells])
    return Table(title, ['', *(q.name for q in quantities)], rows)


def differences(summary: PairSummary) -> Table:
    """A row for each quantity: both models, difference and intervals."""
    rows = []
    for quantity in PRECISIONS + RECALLS:
        found = summary.differences.get(quantity.name)
        cells = [
            quantity.show(_mean(quantity, runs)) for _, runs in summary.models
        ]
        if found is None:
            rows.append([quantity.name, *cells, DASH, DASH, DASH])
            continue
        shown = quantity.show(found.mean, '+')
        rows.append(
            [
                quantity.name,
                *cells,
                f'**{shown}**' if found.clear else shown,
                show_interval(quantity, found.over_seeds),
                show_interval(quantity, found.over_images),
            ]
        )
    header = ['', 'RPN', 'KL-RPN', 'difference']
    header += ['95% over seeds', '95% over images']
    return Table(f'{summary.pair.name}: difference', header, rows)


def by_proposals(summaries: Sequence[PairSummary]) -> Table:
    """A row for each model: AP at each number of proposals."""
    numbers = sorted(
        {
            point.number
            for summary in summaries
            for _, runs in summary.models
            for point in points(runs)
        }
    )
    rows = []
    for summary in summaries:
        for model, runs in summary.models:
            found = {p.number: p for p in points(runs)}
            name = f'{summary.pair.name}, {model}'
            for unit, show in (
                ('AP', lambda p: f'{100 * p.ap:.1f}'),
                ('proposals there are', lambda p: f'{p.mean_proposals:.0f}'),
                ('second stage, ms', lambda p: f'{p.second_stage_ms:.1f}'),
                ('of its own time', lambda p: f'{p.share:.0%}'),
            ):
                cells = [
                    show(found[n]) if n in found else DASH for n in numbers
                ]
                rows.append([f'{name}: {unit}', *cells])
    header = ['proposals', *map(str, numbers)]
    return Table('AP against the number of proposals', header, rows)


def by_seed(summary: PairSummary) -> Table:
    """A row for each quantity and model, a column for each seed."""
    rows = []
    for quantity in PRECISIONS + RECALLS:
        for model, runs in summary.models:
            values = [quantity.show(quantity.read(run)) for run in runs]
            rows.append([f'{quantity.name}, {model}', *values])
    header = ['', *(f'seed {seed}' for seed in summary.seeds)]
    return Table(f'{summary.pair.name}: by seed', header, rows)


def to_csv(summaries: Iterable[PairSummary]) -> str:
    """Every value of every run, a row each, unrounded."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    writer.writerow(['pair', 'model', 'seed', 'quantity', 'value'])
    for summary in summaries:
        for model, runs in summary.models:
            for seed, run in zip(summary.seeds, runs):
                for quantity in PRECISIONS + RECALLS + COSTS:
                    value = quantity.read(run)
                    writer.writerow(
                        [
                            *(summary.pair.name, model, seed, quantity.name),
                            '' if value is None else value,
                        ]
                    )
    return text.getvalue()
