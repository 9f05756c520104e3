"""Tables of a report: pivots of its frames, as text in every form."""

import re
from pathlib import Path
from typing import Dict, List, NamedTuple, Sequence, Tuple

import numpy as np
import pandas as pd

from .columns import AP_NAMES, RECALL_NUMBERS
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


DIFFERENCE = ['difference', '95% over seeds', '95% over images', 'p']
DIFFERENCE += ['p after Holm']


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

    def markdown(self) -> str:
        """As a table of Markdown."""
        rows = [
            [str(cell).replace('|', r'\|') for cell in row]
            for row in (self.frame.columns, *self.frame.to_numpy())
        ]
        rows.insert(1, ['---'] + ['---:'] * (len(rows[0]) - 1))
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
        form = 'l' + 'r' * (len(self.frame.columns) - 1)
        text = self.frame.to_latex(
            index=False, escape=True, column_format=form
        )
        tex.write_text(BOLD.sub(r'\\textbf{\1}', text))
        return [csv, tex]


def table(name: str, caption: str, cells: pd.DataFrame, rows: str) -> Table:
    """A table of cells whose index, headed by ``rows``, names the rows."""
    frame = cells.astype(object).where(cells.notna(), DASH).astype(str)
    frame.insert(0, rows, cells.index.astype(str))
    return Table(name, caption, frame.reset_index(drop=True))


def show(metric: str, value: float, sign: str = '') -> str:
    """A value as printed, in points or its own unit; a dash for NaN."""
    if pd.isna(value):
        return DASH
    factor, digits = UNITS.get(metric, (100, 1))[:2]
    return f'{value * factor:{sign}.{digits}f}'


def show_interval(metric: str, low: float, high: float) -> str:
    """An interval as 'low to high'; a dash if there is none."""
    ends = [show(metric, end, '+') for end in (low, high)]
    return DASH if DASH in ends else ' to '.join(ends)


def show_p(p: float) -> str:
    """A p-value to three digits; a dash for NaN."""
    return DASH if pd.isna(p) else '< 0.001' if p < 0.001 else f'{p:.3f}'


def label(metric: str, at: str) -> str:
    """A metric's heading, with the unit unless it is points."""
    if metric not in UNITS and at[:1] in ('', '@'):
        return metric.replace('_', ' ') + at
    name = UNITS[metric][2] if metric in UNITS else metric
    if at:
        return f'{name} {at}' if at[0] == '@' else f'{name} at {at}'
    return name


def pair_name(pair: Comparison) -> str:
    """A comparison as a heading."""
    return f'{pair.second} minus {pair.first}'


def columns_of(results: Results, *metrics: str) -> List[Column]:
    """Where metrics are measured, each in ascending order."""
    found = set(zip(results.frame['metric'], results.frame['at']))
    return [
        (metric, at)
        for metric in metrics
        for at in sorted(
            (a for m, a in found if m == metric and a), key=as_number
        )
    ]


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
    keys = ['metric', 'at']
    wanted = pd.MultiIndex.from_arrays(
        [[column[i] for column in columns] for i in (0, 1)], names=keys
    )
    rows = results.frame[results.frame.set_index(keys).index.isin(wanted)]
    found = rows.groupby(['detector', *keys])['value'].agg(how).unstack(keys)
    names = [detector.name for detector in results.plan.detectors]
    return found.reindex(index=names).reindex(columns=wanted)


def means(results: Results, columns: Sequence[Column]) -> pd.DataFrame:
    """Cells of means over seeds with their standard deviation."""
    mean, std = (pivot(results, columns, how) for how in ('mean', 'std'))
    cells = {
        column: [
            ' ± '.join(show(column[0], v) for v in pair if pd.notna(v)) or DASH
            for pair in zip(mean[column], std[column])
        ]
        for column in mean
    }
    return pd.DataFrame(cells, mean.index, mean.columns, dtype=object)


def by_detector(
    results: Results, name: str, caption: str, columns: Sequence[Column]
) -> Table:
    """A row for each detector: mean and deviation over seeds, and seeds."""
    cells = means(results, columns)
    cells.columns = [label(*column) for column in columns]
    found = results.frame.groupby('detector')['seed'].nunique()
    cells['seeds'] = [
        f'{found.get(detector.name, 0)} of {len(seeds)}'
        for detector in results.plan.detectors
        for seeds in [results.plan.seeds_of(detector)]
    ]
    return table(name, caption, cells, 'detector')


def ratios(
    results: Results, name: str, caption: str, columns: Sequence[Column]
) -> Table:
    """A row for each comparison: the second's mean divided by the first's."""
    found = pivot(results, columns)
    found.columns = [label(*column) for column in columns]
    cells = {
        f'{pair.second} / {pair.first}': found.loc[pair.second].div(
            found.loc[pair.first]
        )
        for pair in results.plan.compare
    }
    frame = pd.DataFrame(cells, found.columns).T.round(2)
    return table(name, caption, frame.replace([np.inf], np.nan), 'comparison')


def pair_rows(results: Results, pair: Comparison) -> pd.DataFrame:
    """The rows of ``results.comparisons`` of a pair, by (metric, at)."""
    rows = results.comparisons
    of_pair = (rows['first'] == pair.first) & (rows['second'] == pair.second)
    return rows[of_pair].set_index(['metric', 'at'], drop=False)


def primary_rows(results: Results) -> pd.DataFrame:
    """The primary metric's row of each comparison, NaN if not measured."""
    rows = results.comparisons
    rows = rows[rows['metric'] + rows['at'] == results.plan.metric]
    rows = rows.set_index(['first', 'second'])
    return rows.reindex([tuple(pair[:2]) for pair in results.plan.compare])


def difference_cells(rows: pd.DataFrame) -> pd.DataFrame:
    """Cells of rows of ``results.comparisons``, under their index."""
    cells: Dict[str, List[str]] = {name: [] for name in DIFFERENCE}
    for row in rows.to_dict('records'):
        metric = row['metric']
        text = show(metric, row['difference'], '+')
        texts = [f'**{text}**' if row['significant'] is True else text]
        for over in ('seeds', 'images'):
            ends = (row[f'{over}_low'], row[f'{over}_high'])
            texts.append(show_interval(metric, *ends))
        texts += [show_p(row['p']), show_p(row['p_holm'])]
        for name, cell in zip(DIFFERENCE, texts):
            cells[name].append(cell)
    return pd.DataFrame(cells, rows.index, dtype=object)


def headline(results: Results) -> Table:
    """A row for each comparison: the primary metric."""
    rows = primary_rows(results)
    cells = difference_cells(rows)
    seeds = rows[['seeds_first', 'seeds_second']].fillna(0).astype(int)
    cells['seeds'] = seeds.astype(str).agg(' + '.join, axis=1)
    cells.index = [pair_name(pair) for pair in results.plan.compare]
    return table(
        'comparisons',
        f'Differences in {results.plan.metric}, in points. Bold: significant '
        'at 5% after Holm over all comparisons.',
        cells,
        'comparison',
    )


def differences(results: Results, pair: Comparison) -> Table:
    """A row for each metric: both detectors, difference and intervals."""
    rows = pair_rows(results, pair)
    rows = rows[~rows['metric'].isin(LONG)]
    both = means(results, list(rows.index)).loc[[pair.first, pair.second]]
    cells = difference_cells(rows).drop(columns='p after Holm')
    cells = pd.concat([both.T, cells], axis=1)
    cells.index = [label(*column) for column in cells.index]
    return table(
        f'differences_{slug(pair.first)}_{slug(pair.second)}',
        f'{pair_name(pair)}; AP and AR in points. Bold: the primary metric '
        'where it is significant after Holm. p is not adjusted.',
        cells,
        'metric',
    )


def built(results: Results, pair: Comparison) -> Table:
    """A row for each part of the two built models."""
    names = [pair.first, pair.second]
    found = [results.runs.get(name) for name in names]
    parts = [runs[0]['built'] if runs else {} for runs in found]
    keys = dict.fromkeys([*parts[0], *parts[1]])
    rows = [[part.get(key, DASH) for part in parts] for key in keys]
    cells = pd.DataFrame(rows, keys, names, dtype=object)
    cells['differs'] = ['no' if a == b else 'yes' for a, b in rows]
    return table(
        f'built_{slug(pair.first)}_{slug(pair.second)}',
        f'{pair.first} and {pair.second} as they are built.',
        cells,
        'part',
    )


def by_class(results: Results) -> Table:
    """A row for each class: AP of each detector, and each difference."""
    rows = results.frame[results.frame['metric'] == 'class AP']
    objects = rows.groupby('at', sort=False)['n'].max()
    columns = [('class AP', name) for name in objects.index]
    cells = means(results, columns).T.droplevel(0)
    cells.insert(0, 'objects', objects.astype(int))
    for pair in results.plan.compare:
        rows = pair_rows(results, pair).query('metric == "class AP"')
        found = difference_cells(rows.set_index('at'))
        texts = found['difference'] + ' (' + found['95% over images'] + ')'
        cells[pair_name(pair)] = texts
    caption = 'AP of each class, in points; differences with 95% over images.'
    return table('class_ap', caption, cells, 'class')


def reach(results: Results) -> Table:
    """How few proposals of one detector reach the AP of the other's own."""
    tried = columns_of(results, 'AP')
    ap = pivot(results, [('AP', ''), *tried])['AP']
    ms = pivot(results, columns_of(results, 'second_stage_ms'))
    ms.columns = ms.columns.get_level_values('at')
    rows = []
    pairs = [pair[:2] for pair in results.plan.compare]
    for name, other in pairs + [pair[::-1] for pair in pairs]:
        runs = results.runs.get(name) or [{}]
        own = f'@{runs[0].get("num_proposals", DASH)}'
        goal = ap.loc[name, '']
        enough = [at for _, at in tried if ap.loc[other, at] >= goal]
        at = enough[0] if enough else ''
        rows.append(
            {
                'detector': name,
                'proposals': own[1:],
                'AP': show('AP', goal),
                'ms': show('ms', ms.loc[name].get(own)),
                'reached by': other,
                'with': at[1:] or 'none of these numbers',
                'its AP': show('AP', ap.loc[other, at] if at else np.nan),
                'its ms': show('ms', ms.loc[other].get(at)),
            }
        )
    caption = (
        'How few proposals of one detector reach the AP that another has '
        'with its own number, and the time of their second stages. Means '
        'over seeds, without an interval.'
    )
    return Table('reach', caption, pd.DataFrame(rows))


def by_seed(results: Results) -> Table:
    """A row for each run: AP and AR."""
    columns = AP_COLUMNS + AR_COLUMNS
    values = results.frame.pivot_table(
        'value', ['detector', 'seed'], ['metric', 'at'], sort=False
    )
    cells = {
        label(*column): [show(column[0], v) for v in values[column]]
        for column in columns
        if column in values
    }
    names = [f'{detector}, seed {seed}' for detector, seed in values.index]
    caption = 'AP and AR of each run, in points.'
    return table('by_seed', caption, pd.DataFrame(cells, names), 'run')


def provenance(results: Results) -> Table:
    """Each value of versions, commit and hardware, and of how many runs."""
    runs = [run for found in results.runs.values() for run in found]
    rows = pd.DataFrame(
        {
            f'{part}: {key}': str(value or DASH)
            for part in ('training', 'environment')
            for key, value in run[part].items()
        }
        for run in runs
    )
    cells = {
        key: ', '.join(
            f'{value} ({count} of {len(runs)})'
            for value, count in rows[key].value_counts().items()
        )
        for key in rows
    }
    caption = f'Software and hardware of {len(runs)} runs.'
    frame = pd.DataFrame({'value': cells}, dtype=object)
    return table('provenance', caption, frame, 'of')
