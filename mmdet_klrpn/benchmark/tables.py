"""Tables of a report: pivots of its frames, as text in every form."""

import re
from pathlib import Path
from typing import List, NamedTuple, Sequence, Tuple

import numpy as np
import pandas as pd

from .plan import Comparison
from .results import Results

Column = Tuple[str, str]  # metric and at
DASH = '\N{EN DASH}'  # stands for what was not measured
BOLD = re.compile(r'\*\*(.*?)\*\*')
# How a metric's value is printed: factor, digits and label. All others are
# in [0, 1] and printed in points.
UNITS = {
    'FP': (1, 2, 'FP'),
    'proposal FP': (1, 2, 'proposal FP'),
    'proposals': (1, 0, 'proposals'),
    'parameters': (1e-6, 2, 'parameters, M'),
    'flops': (1e-9, 2, 'FLOPs, G'),
    'training_s': (1, 3, 'training, s an iteration'),
    'training_mb': (1, 0, 'training memory, MB'),
    'inference_mb': (1, 0, 'inference memory, MB'),
    'ms': (1, 1, 'ms an image'),
    'first_stage_ms': (1, 1, 'first stage, ms'),
    'second_stage_ms': (1, 1, 'second stage, ms'),
}


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
        """Write it as CSV and, for the package booktabs, as LaTeX."""
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
    heads = (label(c) if isinstance(c, tuple) else c for c in cells)
    frame = frame.set_axis(heads, axis=1).reset_index(names=rows)
    return Table(name, caption, frame)


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


def label(column: Column) -> str:
    """A metric's heading, with the unit unless it is points."""
    metric, at = column
    if metric in UNITS:
        middle = ' at ' if at and at[0] != '@' else ' '
        return f'{UNITS[metric][2]}{middle}{at}'.strip()
    return metric.replace('_', ' ') + at if at[:1] in ('', '@') else at


def columns_of(results: Results, *names: str) -> List[Column]:
    """Columns by name, such as 'AP' or 'AR@100'.

    Args:
        results (Results): Its frame has them.
        *names (str): With '*' for all that a metric is measured at, in
            ascending order, or '*10' for each tenth of them.
    """
    columns: List[Column] = []
    for name in names:
        metric, star, step = name.partition('*')
        if star:
            rows = results.frame[results.frame['metric'] == metric]
            ats = sorted(set(rows['at']) - {''}, key=as_number)
            columns += [(metric, at) for at in ats[:: int(step or 1)]]
        else:
            metric, mark, number = name.partition('@')
            columns.append((metric, mark + number))
    return columns


def as_number(at: str) -> float:
    """What a curve is indexed by, as a number."""
    return float(at.lstrip('@'))


def pivot(
    results: Results, columns: Sequence[Column], how: str = 'mean'
) -> pd.DataFrame:
    """Values of detectors by (metric, at), NaN where not measured.

    Args:
        results (Results): Its frame is read.
        columns (Sequence[tuple[str, str]]): Metric and at of each column.
        how (str): 'mean' or 'std' over seeds.
    """
    keys = ['metric', 'at']
    wanted = pd.MultiIndex.from_frame(pd.DataFrame(columns, columns=keys))
    rows = results.frame[results.frame.set_index(keys).index.isin(wanted)]
    found = rows.groupby(['detector', *keys])['value'].agg(how).unstack(keys)
    names = [detector.name for detector in results.plan.detectors]
    return found.reindex(index=names).reindex(columns=wanted)


def means(results: Results, columns: Sequence[Column]) -> pd.DataFrame:
    """A row for each detector: mean and standard deviation over seeds."""
    mean, std = (pivot(results, columns, how) for how in ('mean', 'std'))
    cells = [
        [
            ' ± '.join(show(metric, v) for v in both if pd.notna(v)) or DASH
            for both in zip(mean[metric, at], std[metric, at])
        ]
        for metric, at in columns
    ]
    cells = pd.DataFrame(cells, mean.columns, mean.index, dtype=object).T
    found = results.frame.groupby('detector')['seed'].nunique()
    plan = results.plan
    cells['seeds'] = [
        f'{found.get(d.name, 0)} of {len(plan.seeds_of(d))}'
        for d in plan.detectors
    ]
    return cells


def ratios(results: Results, columns: Sequence[Column]) -> pd.DataFrame:
    """A row for each comparison: the second's mean divided by the first's."""
    found = pivot(results, columns)
    cells = {
        f'{second} / {first}': found.loc[second] / found.loc[first]
        for first, second, _ in results.plan.compare
    }
    cells = pd.DataFrame(cells, found.columns).T
    return cells.replace([np.inf, -np.inf], np.nan).round(2)


def differences(results: Results, pair: Comparison) -> pd.DataFrame:
    """A row for each metric: both detectors, difference and intervals."""
    rows = pair_rows(results, pair)
    single = rows['at'].str[:1].isin(['', '@']) | rows['metric'].isin(UNITS)
    rows = rows[single]
    both = means(results, list(rows.index)).loc[[pair.first, pair.second]]
    cells = difference_cells(rows).drop(columns='p after Holm')
    cells = pd.concat([both.T.drop(index='seeds', level=0), cells], axis=1)
    return cells.set_axis([label(column) for column in cells.index])


def headline(results: Results) -> pd.DataFrame:
    """A row for each comparison: the primary metric."""
    rows = primary_rows(results)
    cells = difference_cells(rows)
    seeds = rows[['seeds_first', 'seeds_second']].fillna(0).astype(int)
    cells['seeds'] = seeds.astype(str).agg(' + '.join, axis=1)
    return cells.set_axis(map(pair_name, results.plan.compare))


def pair_name(pair: Comparison) -> str:
    """A comparison as a heading."""
    return f'{pair.second} minus {pair.first}'


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
    """Cells of rows of ``results.comparisons``, bold where significant."""
    cells = []
    for row in rows.to_dict('records'):
        metric = row['metric']
        text = show(metric, row['difference'], '+')
        intervals = (
            show_interval(metric, row[f'{over}_low'], row[f'{over}_high'])
            for over in ('seeds', 'images')
        )
        text = f'**{text}**' if row['significant'] is True else text
        p = show_p(row['p']), show_p(row['p_holm'])
        cells.append([text, *intervals, *p])
    names = 'difference', '95% over seeds', '95% over images', 'p'
    return pd.DataFrame(cells, rows.index, [*names, 'p after Holm'])


def built(results: Results, pair: Comparison) -> pd.DataFrame:
    """A row for each part of the two built models."""
    runs = {name: results.runs.get(name) for name in pair[:2]}
    parts = {name: r[0]['built'] if r else {} for name, r in runs.items()}
    keys = dict.fromkeys(key for part in parts.values() for key in part)
    cells = pd.DataFrame(parts, keys, dtype=object).fillna(DASH)
    same = cells[pair.first] == cells[pair.second]
    return cells.assign(differs=same.map({True: 'no', False: 'yes'}))


def by_class(results: Results) -> pd.DataFrame:
    """A row for each class: AP of each detector, and each difference."""
    rows = results.frame[results.frame['metric'] == 'class AP']
    objects = rows.groupby('at', sort=False)['n'].max().astype(int)
    cells = means(results, [('class AP', name) for name in objects.index])
    cells = cells.drop(columns='seeds', level=0).T.droplevel(0)
    cells.insert(0, 'objects', objects)
    for pair in results.plan.compare:
        rows = pair_rows(results, pair).query('metric == "class AP"')
        found = difference_cells(rows.set_index('at'))
        text = found['difference'] + ' (' + found['95% over images'] + ')'
        cells[pair_name(pair)] = text
    return cells


def reach(results: Results) -> pd.DataFrame:
    """How few proposals of one detector reach the AP of another's own."""
    tried = columns_of(results, 'AP*')
    ap = pivot(results, [('AP', ''), *tried])['AP']
    ms = pivot(results, columns_of(results, 'second_stage_ms*'))
    ms.columns = ms.columns.get_level_values('at')
    rows, names = [], []
    pairs = [pair[:2] for pair in results.plan.compare]
    for name, other in pairs + [pair[::-1] for pair in pairs]:
        runs = results.runs.get(name) or [{}]
        own = f'@{runs[0].get("num_proposals", DASH)}'
        goal = ap.loc[name, '']
        enough = [at for _, at in tried if ap.loc[other, at] >= goal]
        at = enough[0] if enough else ''
        names.append(name)
        rows.append(
            {
                'proposals': own[1:],
                'AP': show('AP', goal),
                'ms': show('ms', ms.loc[name].get(own)),
                'reached by': other,
                'with': at[1:] or 'none of these',
                'its AP': show('AP', ap.loc[other, at] if at else np.nan),
                'its ms': show('ms', ms.loc[other].get(at)),
            }
        )
    return pd.DataFrame(rows, names)


def by_seed(results: Results, columns: Sequence[Column]) -> pd.DataFrame:
    """A row for each run."""
    rows, keys = ['detector', 'seed'], ['metric', 'at']
    values = results.frame.pivot_table('value', rows, keys, sort=False)
    values = values.reindex(columns=columns)
    cells = {c: [show(c[0], value) for value in values[c]] for c in columns}
    names = [f'{detector}, seed {seed}' for detector, seed in values.index]
    return pd.DataFrame(cells, names)


def test_sets(results: Results) -> pd.DataFrame:
    """A row for each detector: numbers of images, objects and classes."""
    runs = {name: runs[0] for name, runs in results.runs.items() if runs}
    return pd.DataFrame({name: run['counts'] for name, run in runs.items()}).T


def provenance(results: Results) -> pd.DataFrame:
    """Each value of versions, commit and hardware, and of how many runs."""
    parts = ('environment', 'training')
    rows = pd.json_normalize(
        [
            {part: run[part] for part in parts}
            for runs in results.runs.values()
            for run in runs
        ],
        sep=': ',
    )
    counts = {key: rows[key].fillna(DASH).value_counts() for key in rows}
    cells = {
        key: ', '.join(f'{value} ({n})' for value, n in found.items())
        for key, found in counts.items()
    }
    return pd.DataFrame({'value (runs)': cells})
