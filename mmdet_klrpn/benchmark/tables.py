"""Tables of a report: pivots of its frames, as text in every form."""

import re
from pathlib import Path
from typing import List, NamedTuple, Sequence, Tuple

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
    """Where metrics are measured, ascending; of long curves, each tenth."""
    columns: List[Column] = []
    for metric in metrics:
        rows = results.frame[results.frame['metric'] == metric]
        ats = sorted(set(rows['at']) - {''}, key=as_number)
        columns += [(metric, at) for at in ats[:: 1 + 9 * (len(ats) > 20)]]
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


def difference_cells(results: Results, pair: Comparison) -> pd.DataFrame:
    """Cells of ``results.comparisons`` of a pair, by (metric, at)."""
    rows = results.comparisons.set_index(['first', 'second', 'metric', 'at'])
    of_pair = [rows.index.get_level_values(i) == pair[i] for i in (0, 1)]
    rows = rows[of_pair[0] & of_pair[1]].droplevel([0, 1])
    cells = []
    for (metric, _), row in rows.iterrows():
        text = show(metric, row['difference'], '+')
        cells.append(
            {
                'difference': f'**{text}**' if row['significant'] else text,
                '95% over seeds': show_interval(
                    metric, row['seeds_low'], row['seeds_high']
                ),
                '95% over images': show_interval(
                    metric, row['images_low'], row['images_high']
                ),
                'p': show_p(row['p']),
                'p after Holm': show_p(row['p_holm']),
                'seeds': f'{row["seeds_first"]} + {row["seeds_second"]}',
            }
        )
    return pd.DataFrame(cells, rows.index, DIFFERENCE, dtype=object)


DIFFERENCE = ['difference', '95% over seeds', '95% over images', 'p']
DIFFERENCE += ['p after Holm', 'seeds']


def headline(results: Results) -> Table:
    """A row for each comparison: the primary metric."""
    rows = {}
    for pair in results.plan.compare:
        cells = difference_cells(results, pair)
        cells.index = [''.join(column) for column in cells.index]
        rows[pair_name(pair)] = cells.reindex([results.plan.metric]).iloc[0]
    return table(
        'comparisons',
        f'Differences in {results.plan.metric}, in points. Bold: significant '
        'at 5% after Holm over all comparisons.',
        pd.DataFrame(rows, DIFFERENCE).T,
        'comparison',
    )


def differences(results: Results, pair: Comparison) -> Table:
    """A row for each metric: both detectors, difference and intervals."""
    cells = difference_cells(results, pair)
    cells = cells[~cells.index.get_level_values(0).isin(LONG)]
    both = means(results, list(cells.index)).loc[[pair.first, pair.second]]
    cells = pd.concat([both.T, cells[DIFFERENCE[:4]]], axis=1)
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
    runs = [results.runs.get(name) for name in (pair.first, pair.second)]
    parts = [found[0]['built'] if found else {} for found in runs]
    keys = list(dict.fromkeys([*parts[0], *parts[1]]))
    cells = pd.DataFrame(
        {
            pair.first: [parts[0].get(key, DASH) for key in keys],
            pair.second: [parts[1].get(key, DASH) for key in keys],
        },
        keys,
    )
    differ = cells[pair.first] != cells[pair.second]
    return table(
        f'built_{slug(pair.first)}_{slug(pair.second)}',
        f'{pair.first} and {pair.second} as they are built.',
        cells.assign(differs=differ.map({True: 'yes', False: 'no'})),
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
        found = difference_cells(results, pair)
        found = found[found.index.get_level_values(0) == 'class AP']
        texts = found['difference'] + ' (' + found['95% over images'] + ')'
        cells[pair_name(pair)] = texts.droplevel(0)
    caption = 'AP of each class, in points; differences with 95% over images.'
    return table('class_ap', caption, cells, 'class')


def reach(results: Results) -> Table:
    """How few proposals of one detector reach the AP of the other's own."""
    tried = columns_of(results, 'AP')
    found = pivot(results, [('AP', ''), *tried])
    times = means(results, columns_of(results, 'second_stage_ms'))
    times.columns = times.columns.get_level_values(1)
    rows = []
    pairs = [(pair.first, pair.second) for pair in results.plan.compare]
    for name, other in pairs + [pair[::-1] for pair in pairs]:
        runs = results.runs.get(name)
        own = f'@{runs[0]["num_proposals"]}' if runs else ''
        goal = found.loc[name, ('AP', '')]
        at = next((c[1] for c in tried if found.loc[other, c] >= goal), '')
        rows.append(
            {
                'proposals': own[1:],
                'AP': show('AP', goal),
                'ms': times.loc[name].get(own),
                'reached by': other,
                'with': at[1:] or 'none of these',
                'its AP': show('AP', found.loc[other].get(('AP', at)))
                if at
                else DASH,
                'its ms': times.loc[other].get(at),
            }
        )
    names = [pair[0] for pair in pairs] + [pair[1] for pair in pairs]
    return table(
        'reach',
        'How few proposals of one detector reach the AP that the other has '
        'with its own number, and the ms of both second stages. Means over '
        'seeds, without an interval.',
        pd.DataFrame(rows, names),
        'detector',
    )


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
