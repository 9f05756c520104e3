"""Tables of a report: pivots of its frames, as text in every form."""

import re
from functools import partial
from pathlib import Path
from typing import List, NamedTuple, Sequence, Tuple

import numpy as np
import pandas as pd

from .columns import AREAS
from .results import Results

Column = Tuple[str, str]  # metric and at
Pair = Tuple[str, ...]  # two detectors, of which the second is compared
DASH = '\N{EN DASH}'  # stands for what was not measured
BOLD = re.compile(r'\*\*(.*?)\*\*')
STAGE = 'second_stage_ms'
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
    STAGE: (1, 1, 'second stage, ms'),
}


class Table(NamedTuple):
    """Cells of a table as text, of which the first column names the rows.

    What is significant is within ``**``.
    """

    name: str  # of its files
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
    frame.insert(0, rows, cells.index.astype(str))
    return Table(name, caption, frame)


def label(metric: str, at: str) -> str:
    """A metric's name, with the unit unless it is points."""
    name = UNITS[metric][2] if metric in UNITS else metric.replace('_', ' ')
    between = ' ' * (metric in UNITS) if at[:1] in ('', '@') else ' at '
    return f'{name}{between}{at}'.strip()


def show(metric: str, value: float, sign: str = '') -> str:
    """A value as printed, in points or its own unit; a dash for NaN."""
    factor, digits = UNITS.get(metric, (100, 1))[:2]
    return DASH if pd.isna(value) else f'{value * factor:{sign}.{digits}f}'


def columns_of(results: Results, *names: str) -> List[Column]:
    """Columns by name: 'AP', 'AR@100', or 'AP*' for all with a value.

    'AP*10' is for each tenth of them, ascending.
    """
    columns: List[Column] = []
    for name in names:
        metric, star, step = name.partition('*')
        if star:
            rows = results.frame.dropna(subset=['value'])
            ats = set(rows.loc[rows['metric'] == metric, 'at']) - {''}
            ats = sorted(ats, key=as_number)[:: int(step or 1)]
            columns += [(metric, at) for at in ats]
        else:
            metric, mark, number = name.partition('@')
            columns.append((metric, mark + number))
    return columns


def as_number(at: str) -> float:
    """What a curve is indexed by, as a number."""
    return float(at.lstrip('@') or 0)


def pivot(
    results: Results, columns: Sequence[Column], how: str = 'mean'
) -> pd.DataFrame:
    """Detectors' 'mean' or 'std' over seeds by (metric, at).

    It is NaN where a seed has no value, such as the false positives at a
    recall that it does not reach: a mean of the others would flatter.
    """
    keys = ['metric', 'at']
    wanted = pd.MultiIndex.from_tuples(columns, names=keys)
    values = results.frame.groupby(['detector', *keys])['value']
    found = values.agg(how).where(values.count() == values.size())
    names = [detector.name for detector in results.plan.detectors]
    return found.unstack(keys).reindex(index=names, columns=wanted)


def means(results: Results, columns: Sequence[Column]) -> pd.DataFrame:
    """A row for each detector: mean and standard deviation over seeds."""
    mean, std = (
        pivot(results, columns, how).apply(
            lambda cells: cells.map(partial(show, cells.name[0]))
        )
        for how in ('mean', 'std')
    )
    return mean + (' ± ' + std).where(std != DASH, '')


def counted(results: Results, columns: Sequence[Column]) -> pd.DataFrame:
    """The means, and how many of the planned seeds they are of."""
    cells = means(results, columns).set_axis(headings(columns), axis=1)
    rows = results.frame.dropna(subset=['value'])
    rows = rows[rows['metric'].isin([metric for metric, _ in columns])]
    found = rows.groupby('detector')['seed'].nunique()
    cells['seeds'] = [
        f'{found.get(d.name, 0)} of {len(results.plan.seeds_of(d))}'
        for d in results.plan.detectors
    ]
    return cells


def headings(columns: Sequence[Column]) -> List[str]:
    """Labels of columns, without the metric where there is but one."""
    if len({metric for metric, _ in columns}) == 1 < len(columns):
        return [at for _, at in columns]
    return [label(*column) for column in columns]


def ratios(results: Results, columns: Sequence[Column]) -> pd.DataFrame:
    """A row for each comparison: the second's mean divided by the first's."""
    found = pivot(results, columns).set_axis(headings(columns), axis=1)
    cells = {
        f'{second} / {first}': [
            f'{ratio:.2f}' if np.isfinite(ratio) else DASH
            for ratio in found.loc[second] / found.loc[first]
        ]
        for first, second in results.plan.pairs
    }
    return pd.DataFrame.from_dict(cells, 'index', columns=found.columns)


def pair_rows(results: Results, pair: Pair) -> pd.DataFrame:
    """The rows of ``results.comparisons`` of a pair, by (metric, at)."""
    rows = results.comparisons
    of_pair = (rows[['first', 'second']] == pair).all(axis=1)
    return rows[of_pair].set_index(['metric', 'at'], drop=False)


def primary_rows(results: Results) -> pd.DataFrame:
    """The primary metric's row of each comparison, NaN if not measured."""
    rows = results.comparisons
    rows = rows[rows['metric'] + rows['at'] == results.plan.metric]
    rows = rows.set_index(['first', 'second'])
    return rows.reindex(results.plan.pairs)


def difference_cells(rows: pd.DataFrame) -> pd.DataFrame:
    """Cells of rows of ``results.comparisons``, bold where significant."""
    names = 'difference', '95% over seeds', '95% over images', 'p'
    cells = pd.DataFrame(index=rows.index, columns=[*names, 'p after Holm'])
    for i, row in enumerate(rows.to_dict('records')):
        sign = partial(show, row['metric'], sign='+')
        text = sign(row['difference'])
        found = [f'**{text}**' if row['significant'] is True else text]
        for over in ('seeds', 'images'):
            ends = [sign(row[f'{over}_{end}']) for end in ('low', 'high')]
            found.append(DASH if DASH in ends else ' to '.join(ends))
        for p in (row['p'], row['p_holm']):
            text = '< 0.001' if p < 0.001 else f'{p:.3f}'
            found.append(DASH if pd.isna(p) else text)
        cells.iloc[i] = found
    return cells


def headline(results: Results) -> pd.DataFrame:
    """A row for each comparison: the primary metric."""
    rows = primary_rows(results)
    seeds = rows[['seeds_first', 'seeds_second']].fillna(0).astype(int)
    cells = difference_cells(rows)
    cells['seeds'] = [f'{a} + {b}' for a, b in seeds.to_numpy()]
    return cells.set_axis([f'{b} minus {a}' for a, b in rows.index])


def differences(results: Results, pair: Pair) -> pd.DataFrame:
    """A row for each metric: both detectors, difference and intervals."""
    rows = pair_rows(results, pair)
    rows = rows[rows['at'].str.match('@|$') | rows['metric'].isin(UNITS)]
    order = rows['metric'].unique().tolist().index
    columns = sorted(rows.index, key=lambda c: (order(c[0]), as_number(c[1])))
    cells = difference_cells(rows.loc[columns]).drop(columns='p after Holm')
    both = means(results, columns).loc[list(pair)].T
    cells = pd.concat([both, cells], axis=1)
    return cells.set_axis([label(*column) for column in columns])


def built(results: Results, pair: Pair) -> pd.DataFrame:
    """A row for each part of the two built models."""
    runs = {name: results.runs.get(name) for name in pair}
    parts = {name: r[0]['built'] if r else {} for name, r in runs.items()}
    keys = dict.fromkeys(key for part in parts.values() for key in part)
    cells = pd.DataFrame(parts, keys, dtype=object).fillna(DASH)
    other = cells[pair[0]] != cells[pair[1]]
    return cells.assign(differs=np.where(other, 'yes', 'no'))


def by_class(results: Results) -> pd.DataFrame:
    """A row for each class: AP of each detector, and each difference."""
    rows = results.frame[results.frame['metric'] == 'class AP']
    objects = rows.groupby('at', sort=False)['n'].max().astype(int)
    columns = [('class AP', name) for name in objects.index]
    if not columns:
        return pd.DataFrame()
    cells = means(results, columns).T.droplevel(0)
    cells.insert(0, 'objects', objects)
    for pair in results.plan.pairs:
        rows = pair_rows(results, pair).query('metric == "class AP"')
        found = difference_cells(rows.set_index('at'))
        text = found['difference'] + ' (' + found['95% over images'] + ')'
        cells[f'{pair[1]} minus {pair[0]}'] = text
    return cells


def reach(results: Results) -> pd.DataFrame:
    """How few proposals of one detector reach the AP of another's own."""
    tried = columns_of(results, 'AP*')
    times = columns_of(results, f'{STAGE}*')
    found = pivot(results, [('AP', ''), *tried, *times])
    rows = []
    pairs = results.plan.pairs if tried else []
    for name, other in pairs + [pair[::-1] for pair in pairs]:
        runs = results.runs.get(name) or [{}]
        own = str(runs[0].get('num_proposals', DASH))
        goal, its = found.loc[name], found.loc[other]
        reaching = [c for c in tried if its[c] >= goal['AP', '']]
        known = pd.notna(goal['AP', '']) and its[tried].notna().any()
        at = reaching[0][1] if reaching else None
        cells = [show('AP', goal['AP', '']), own]
        cells += [show('ms', goal.get((STAGE, f'@{own}'))), other]
        cells.append(at[1:] if at else 'none of these' if known else DASH)
        cells += [show('AP', its.get(('AP', at)))]
        rows.append([name, *cells, show('ms', its.get((STAGE, at)))])
    names = 'detector, AP, proposals, ms, reached by, with, its AP, its ms'
    return pd.DataFrame(rows, columns=names.split(', ')).set_index('detector')


def by_seed(results: Results, columns: Sequence[Column]) -> pd.DataFrame:
    """A row for each run."""
    rows = ['detector', 'seed']
    values = results.frame.pivot_table('value', rows, ['metric', 'at'])
    values = values.reindex([d.name for d in results.plan.detectors], level=0)
    values = values.reindex(columns=columns)
    names = [f'{detector}, seed {seed}' for detector, seed in values.index]
    cells = [[show(c[0], v) for v in values[c]] for c in columns]
    return pd.DataFrame(cells, headings(columns), names).T


def test_sets(results: Results) -> pd.DataFrame:
    """A row for each detector: numbers of images, objects and classes."""
    rows = {name: runs[0] for name, runs in results.runs.items() if runs}
    names = ['images', 'objects', 'classes']
    cells = pd.DataFrame.from_dict(rows, 'index')[names]
    largest = results.frame.groupby(['metric', 'detector'])['n'].max()
    for area in AREAS[1:]:
        metric = f'AR_{area[0].upper()}'
        if metric in largest:
            cells[area] = largest[metric]
    return cells


def provenance(results: Results) -> pd.DataFrame:
    """Each value of versions, commit and hardware, and of how many runs."""
    parts = 'environment', 'training'
    every = [run for runs in results.runs.values() for run in runs]
    found = pd.json_normalize([{p: run[p] for p in parts} for run in every])
    cells = {
        name.replace('.', ': ', 1): ', '.join(
            f'{value} ({count})'
            for value, count in values.value_counts(sort=False).items()
        )
        for name, values in found.fillna(DASH).items()
    }
    return pd.DataFrame({'runs': cells})
