"""Tables of a report: pivots of its frames, as text in every form."""

import re
from pathlib import Path
from typing import Dict, List, NamedTuple, Sequence, Tuple

import numpy as np
import pandas as pd

from .columns import AP_NAMES, AREAS, RECALL_NUMBERS
from .plan import Comparison
from .results import Results
from .runs import slug

Column = Tuple[str, str]  # metric and at
DASH = '\N{EN DASH}'  # stands for what was not measured
BOLD = re.compile(r'\*\*(.*?)\*\*')
# How a metric's value is printed: factor, digits and label. All others are
# in [0, 1] and printed in points.
UNITS = {
    'FP': (1, 2, 'false positives an image'),
    'proposal FP': (1, 2, 'false proposals an image'),
    'proposals': (1, 0, 'proposals there are'),
    'parameters': (1e-6, 2, 'parameters, M'),
    'flops': (1e-9, 2, 'FLOPs, G'),
    'training_s': (1, 3, 'training, s an iteration'),
    'training_mb': (1, 0, 'training memory, MB'),
    'inference_mb': (1, 0, 'inference memory, MB'),
    'ms': (1, 1, 'ms an image'),
    'first_stage_ms': (1, 1, 'first stage, ms'),
    'second_stage_ms': (1, 1, 'second stage, ms'),
}
# Metrics with a value for each class or each point of a curve.
LONG = ('class AP', 'precision50', 'precision75', 'recall100', 'recall1000')
AP_COLUMNS: List[Column] = [(name, '') for name in AP_NAMES]
AR_COLUMNS: List[Column] = [
    *(('AR', f'@{n}') for n in RECALL_NUMBERS),
    *((f'AR_{size}', f'@{RECALL_NUMBERS[-1]}') for size in 'SML'),
]
DIFFERENCE = ('difference', '95% over seeds', '95% over images', 'p')


class Table(NamedTuple):
    """Cells of a table as text.

    Attributes:
        name (str): Of its files.
        caption (str): What it shows.
        frame (pd.DataFrame): Cells, of which the first column names the
            rows. What is significant is within ``**``.
    """

    name: str
    caption: str
    frame: pd.DataFrame

    @property
    def rows(self) -> List[List[str]]:
        """Cells by row."""
        return self.frame.to_numpy().tolist()

    def markdown(self) -> str:
        """As a table of Markdown."""
        rule = ['---'] + ['---:'] * (len(self.frame.columns) - 1)
        rows = [
            [str(cell).replace('|', r'\|') for cell in row]
            for row in (self.frame.columns, *self.rows)
        ]
        rows.insert(1, rule)
        return '\n'.join('| ' + ' | '.join(row) + ' |' for row in rows)

    def write(self, folder: Path) -> List[Path]:
        """Write it as CSV and, for the package booktabs, as LaTeX.

        Args:
            folder (Path): Which exists.

        Returns:
            list[Path]: Both files.
        """
        csv, tex = (folder / f'{self.name}.{kind}' for kind in ('csv', 'tex'))
        plain = self.frame.replace(BOLD, r'\1', regex=True)
        plain.to_csv(csv, index=False, lineterminator='\n')
        columns = 'l' + 'r' * (len(self.frame.columns) - 1)
        text = self.frame.to_latex(
            index=False, escape=True, column_format=columns
        )
        tex.write_text(BOLD.sub(r'\\textbf{\1}', text))
        return [csv, tex]


def show(metric: str, value: float, sign: str = '') -> str:
    """A value as printed, in points or its own unit; a dash for NaN."""
    if pd.isna(value):
        return DASH
    factor, digits = UNITS.get(metric, (100, 1))[:2]
    return f'{value * factor:{sign}.{digits}f}'


def show_interval(metric: str, low: float, high: float) -> str:
    """An interval as 'low to high'; a dash if there is none."""
    if pd.isna(low) or pd.isna(high):
        return DASH
    return f'{show(metric, low, "+")} to {show(metric, high, "+")}'


def show_p(p: float) -> str:
    """A p-value to three digits; a dash for NaN."""
    if pd.isna(p):
        return DASH
    return '< 0.001' if p < 0.001 else f'{p:.3f}'


def label(metric: str, at: str) -> str:
    """A metric's heading, with the unit unless it is points."""
    known = metric in UNITS
    name = UNITS[metric][2] if known else metric.replace('_', ' ')
    if at and not at.startswith('@'):
        return f'{name} at {at}'
    return f'{name} {at}'.strip() if known else name + at


def pair_name(pair: Comparison) -> str:
    """A comparison as a heading."""
    return f'{pair.second} minus {pair.first}'


def pair_slug(pair: Comparison) -> str:
    """A comparison as a part of file names."""
    return f'{slug(pair.first)}_{slug(pair.second)}'


def difference_rows(results: Results, pair: Comparison) -> pd.DataFrame:
    """The rows of ``results.comparisons`` of a pair."""
    rows = results.comparisons
    return rows[(rows['first'] == pair[0]) & (rows['second'] == pair[1])]


def primary_row(results: Results, pair: Comparison) -> Dict[str, object]:
    """The primary metric's row of a pair; empty if it was not measured."""
    rows = difference_rows(results, pair)
    rows = rows[rows['metric'] + rows['at'] == results.plan.metric]
    return {} if rows.empty else rows.iloc[0].to_dict()


def columns_of(results: Results, *metrics: str) -> List[Column]:
    """Where metrics are measured, ascending; of long curves, each tenth."""
    columns: List[Column] = []
    for metric in metrics:
        rows = results.frame[results.frame['metric'] == metric]
        ats = sorted({at for at in rows['at'] if at}, key=as_number)
        columns += [(metric, at) for at in ats[:: 10 if len(ats) > 20 else 1]]
    return columns


def as_number(at: str) -> float:
    """What a curve is indexed by, as a number."""
    return float(at.lstrip('@'))


def pivot(
    results: Results, columns: Sequence[Column], how: str = 'mean'
) -> pd.DataFrame:
    """Values over seeds: detectors by (metric, at), NaN where not measured.

    Args:
        results (Results): Its frame is read.
        columns (Sequence[tuple[str, str]]): Metric and at of each column.
        how (str): 'mean' or 'std'.
    """
    wanted = pd.MultiIndex.from_tuples(columns, names=['metric', 'at'])
    keys = pd.MultiIndex.from_frame(results.frame[['metric', 'at']])
    grouped = results.frame[keys.isin(wanted)].groupby(
        ['detector', 'metric', 'at']
    )
    found = grouped['value'].agg(how).unstack(['metric', 'at'])
    names = [detector.name for detector in results.plan.detectors]
    return found.reindex(index=names, columns=wanted)


def shown(results: Results, columns: Sequence[Column]) -> pd.DataFrame:
    """Cells of means over seeds with their standard deviation."""
    mean, std = (pivot(results, columns, how) for how in ('mean', 'std'))
    cells = pd.DataFrame(index=mean.index, columns=mean.columns, dtype=object)
    for column in mean:
        cells[column] = [
            show(column[0], m)
            + ('' if pd.isna(s) else f' ± {show(column[0], s)}')
            for m, s in zip(mean[column], std[column])
        ]
    return cells


def by_detector(
    results: Results,
    name: str,
    caption: str,
    columns: Sequence[Column],
) -> Table:
    """A row for each detector: mean and deviation over seeds, and seeds."""
    cells = shown(results, columns)
    cells.columns = [label(*column) for column in columns]
    counts = results.frame.groupby('detector')['seed'].nunique()
    seeds = []
    for detector in results.plan.detectors:
        there, planned = (
            counts.get(detector.name, 0),
            len(results.plan.seeds_of(detector)),
        )
        seeds.append(
            str(there) if there == planned else f'{there} of {planned}'
        )
    return _table(name, caption, cells.assign(seeds=seeds), 'detector')


def test_sets(results: Results) -> Table:
    """A row for each detector: what it was measured on."""
    rows = {}
    for name, runs in results.runs.items():
        counts = runs[0] if runs else {}
        objects = counts.get('num_objects', {})
        rows[name] = {
            'images': counts.get('num_images'),
            'objects': objects.get('all'),
            **{area: objects.get(area) for area in AREAS[1:]},
            'classes': counts.get('num_classes'),
        }
    cells = pd.DataFrame.from_dict(rows, orient='index', dtype=object)
    caption = 'What each detector was measured on.'
    return _table('test_sets', caption, cells, 'detector')


def headline(results: Results) -> Table:
    """A row for each comparison: the primary metric."""
    rows = {}
    for pair in results.plan.compare:
        row = primary_row(results, pair)
        cells = _difference_cells(row) if row else {}
        if row:
            cells['p after Holm'] = show_p(row['p_holm'])
            cells['seeds'] = (
                f'{row["seeds_first"]:.0f} + {row["seeds_second"]:.0f}'
            )
        rows[pair_name(pair)] = cells
    columns = [*DIFFERENCE, 'p after Holm', 'seeds']
    cells = pd.DataFrame.from_dict(rows, orient='index', columns=columns)
    return _table(
        'comparisons',
        f'Differences in {results.plan.metric}, in points. Bold: significant '
        'at 5% after Holm over all comparisons.',
        cells,
        'comparison',
    )


def differences(results: Results, pair: Comparison) -> Table:
    """A row for each metric: both detectors, difference and intervals."""
    rows = difference_rows(results, pair)
    rows = rows[~rows['metric'].isin(LONG)]
    columns = list(zip(rows['metric'], rows['at']))
    cells = pd.DataFrame(
        [_difference_cells(row) for row in rows.to_dict('records')],
        [label(*column) for column in columns],
        list(DIFFERENCE),
    )
    if columns:
        both = shown(results, columns)
        for position, name in enumerate(pair[:2]):
            cells.insert(position, name, both.loc[name].tolist())
    return _table(
        f'differences_{pair_slug(pair)}',
        f'{pair_name(pair)}: AP and AR in points. Bold: the primary metric '
        'where it is significant after Holm; p of the others is not adjusted.',
        cells,
        'metric',
    )


def built(results: Results, pair: Comparison) -> Table:
    """A row for each part of the two built models."""
    parts = {
        name: runs[0]['built'] if runs else {}
        for name, runs in ((n, results.runs.get(n)) for n in pair[:2])
    }
    cells = pd.DataFrame(parts, dtype=object).fillna(DASH)
    differ = cells[pair.first] != cells[pair.second]
    return _table(
        f'built_{pair_slug(pair)}',
        f'{pair.first} and {pair.second} as they are built.',
        cells.assign(differs=np.where(differ, 'yes', 'no')),
        'part',
    )


def by_class(results: Results) -> Table:
    """A row for each class: AP of each detector, and each difference."""
    rows = results.frame[results.frame['metric'] == 'class AP']
    objects = rows.groupby('at', sort=False)['n'].max()
    cells = shown(results, [('class AP', name) for name in objects.index])
    cells = cells.T.droplevel('metric')
    cells.insert(0, 'objects', objects.map('{:.0f}'.format))
    for pair in results.plan.compare:
        rows = difference_rows(results, pair)
        rows = rows[rows['metric'] == 'class AP'].set_index('at')
        texts = {
            at: f'{cell["difference"]} ({cell["95% over images"]})'
            for at, cell in (
                (at, _difference_cells(row))
                for at, row in rows.to_dict('index').items()
            )
        }
        cells[pair_name(pair)] = pd.Series(texts, cells.index, dtype=object)
    caption = 'AP of each class, in points; differences with 95% over images.'
    return _table('class_ap', caption, cells, 'class')


def reach(results: Results) -> Table:
    """How few proposals of one detector reach the AP of the other's own."""
    found = pivot(
        results,
        [('AP', ''), *columns_of(results, 'AP', 'second_stage_ms')],
    )
    rows = []
    for pair in results.plan.compare:
        for name, other in (
            (pair.first, pair.second),
            (pair.second, pair.first),
        ):
            rows.append(_reach(results, found, name, other))
    return _table(
        'reach',
        'How few proposals reach the AP that the other detector has with its '
        'own number. Means over seeds, without an interval.',
        pd.DataFrame(rows).set_index('detector'),
        'detector',
    )


def _reach(
    results: Results, found: pd.DataFrame, name: str, other: str
) -> Dict[str, str]:
    own = (results.runs.get(name) or [{}])[0].get('num_proposals')
    ap = found.loc[name, ('AP', '')]
    tried = found.loc[other].loc['AP'].drop('')
    enough = tried.index[(tried >= ap).to_numpy()]

    def cell(detector: str, metric: str, at: str) -> str:
        known = (metric, at) in found.columns
        return (
            show(metric, found.loc[detector, (metric, at)]) if known else DASH
        )

    at = enough[0] if len(enough) else ''
    return {
        'detector': name,
        'proposals': str(own or DASH),
        'AP': show('AP', ap),
        'second stage, ms': cell(name, 'second_stage_ms', f'@{own}'),
        'is reached by': other,
        'with': at.lstrip('@') or 'none of those tried',
        'its AP': cell(other, 'AP', at) if at else DASH,
        'its second stage, ms': cell(other, 'second_stage_ms', at),
    }


def ratios(
    results: Results, name: str, caption: str, columns: Sequence[Column]
) -> Table:
    """A row for each comparison: the second's mean divided by the first's."""
    found = pivot(results, columns)
    rows = {}
    for first, second, *_ in results.plan.compare:
        ratio = found.loc[second] / found.loc[first]
        rows[f'{second} / {first}'] = [
            f'{value:.2f}' if np.isfinite(value) else DASH for value in ratio
        ]
    cells = pd.DataFrame.from_dict(
        rows, orient='index', columns=[label(*c) for c in columns]
    )
    return _table(name, caption, cells, 'comparison')


def by_seed(results: Results) -> Table:
    """A row for each run: AP and AR."""
    columns = AP_COLUMNS + AR_COLUMNS
    values = results.frame.pivot_table(
        'value', ['detector', 'seed'], ['metric', 'at'], sort=False
    ).reindex(columns=pd.MultiIndex.from_tuples(columns))
    cells = pd.DataFrame(
        {label(*c): [show(c[0], v) for v in values[c]] for c in columns},
        [f'{detector}, seed {seed}' for detector, seed in values.index],
    )
    return _table('by_seed', 'Each run, AP and AR in points.', cells, 'run')


def provenance(results: Results) -> Table:
    """Each value that versions, commit and hardware have, of how many runs."""
    runs = pd.DataFrame(
        {
            **run.get('environment', {}),
            **{
                f'training: {k}': v for k, v in run.get('training', {}).items()
            },
        }
        for runs in results.runs.values()
        for run in runs
    )
    cells = {
        key: ', '.join(
            f'{value} ({count} runs)' if count < len(runs) else str(value)
            for value, count in runs[key].fillna(DASH).value_counts().items()
        )
        for key in runs
    }
    return _table(
        'provenance',
        f'Software and hardware of {len(runs)} runs.',
        pd.DataFrame({'value': cells}),
        '',
    )


def _difference_cells(row: Dict[str, object]) -> Dict[str, str]:
    """Cells of a row of ``results.comparisons``; bold if significant."""
    metric = row['metric']
    text = show(metric, row['difference'], '+')
    cells = (
        f'**{text}**' if row['significant'] else text,
        *(
            show_interval(metric, row[f'{over}_low'], row[f'{over}_high'])
            for over in ('seeds', 'images')
        ),
        show_p(row['p']),
    )
    return dict(zip(DIFFERENCE, cells))


def _table(name: str, caption: str, cells: pd.DataFrame, first: str) -> Table:
    """A table of cells whose index names the rows."""
    frame = cells.astype(object).where(cells.notna(), DASH).astype(str)
    frame.insert(0, first, cells.index.astype(str))
    return Table(name, caption, frame.reset_index(drop=True))
