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
    frame.insert(0, rows, cells.index.astype(str))
    return Table(name, caption, frame)


def label(metric: str, at: str) -> str:
    """A metric's name, with the unit unless it is points."""
    name = UNITS[metric][2] if metric in UNITS else metric.replace('_', ' ')
    if not at:
        return name
    if at[0] == '@':
        return name + ' ' * (metric in UNITS) + at
    return f'{name} at {at}'


def show(metric: str, value: float, sign: str = '') -> str:
    """A value as printed, in points or its own unit; a dash for NaN."""
    if pd.isna(value):
        return DASH
    factor, digits = UNITS.get(metric, (100, 1))[:2]
    return f'{value * factor:{sign}.{digits}f}'


def show_p(p: float) -> str:
    """A p-value to three digits; a dash for NaN."""
    return DASH if pd.isna(p) else '< 0.001' if p < 0.001 else f'{p:.3f}'


def columns_of(results: Results, *names: str) -> List[Column]:
    """Columns by name: 'AP', 'AR@100', or 'AP*' for all that AP is at.

    Args:
        results (Results): Its frame tells at what a metric is measured.
        *names (str): 'AP*10' is for each tenth of them, ascending.
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
    """Detectors' 'mean' or 'std' over seeds by (metric, at), or NaN."""
    keys = ['metric', 'at']
    wanted = pd.MultiIndex.from_frame(pd.DataFrame(columns, columns=keys))
    rows = results.frame[results.frame.set_index(keys).index.isin(wanted)]
    found = rows.groupby(['detector', *keys])['value'].agg(how).unstack(keys)
    names = [detector.name for detector in results.plan.detectors]
    return found.reindex(index=names).reindex(columns=wanted)


def means(results: Results, columns: Sequence[Column]) -> pd.DataFrame:
    """A row for each detector: mean and standard deviation over seeds."""
    mean, std = (
        pivot(results, columns, how).astype(object) for how in ('mean', 'std')
    )
    for column in columns:
        for cells in (mean, std):
            cells[column] = [show(column[0], v) for v in cells[column]]
    return mean + (' ± ' + std).where(std != DASH, '')


def counted(results: Results, columns: Sequence[Column]) -> pd.DataFrame:
    """The means, and of how many seeds they are."""
    cells = means(results, columns).set_axis(headings(columns), axis=1)
    found = results.frame.groupby('detector')['seed'].nunique()
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
    return pd.DataFrame(
        {
            f'{second} / {first}': (found.loc[second] / found.loc[first])
            .replace([np.inf, -np.inf], np.nan)
            .map('{:.2f}'.format, na_action='ignore')
            for first, second, _ in results.plan.compare
        }
    ).T


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

    def cells(row: dict) -> List[str]:
        ends = ('seeds_low', 'seeds_high', 'images_low', 'images_high')
        text, *ends = (
            show(row['metric'], row[name], '+')
            for name in ('difference', *ends)
        )
        return [
            f'**{text}**' if row['significant'] is True else text,
            DASH if DASH in ends[:2] else ' to '.join(ends[:2]),
            DASH if DASH in ends[2:] else ' to '.join(ends[2:]),
            show_p(row['p']),
            show_p(row['p_holm']),
        ]

    names = ['difference', '95% over seeds', '95% over images', 'p']
    found = [cells(row) for row in rows.to_dict('records')]
    return pd.DataFrame(found, rows.index, [*names, 'p after Holm'])


def headline(results: Results) -> pd.DataFrame:
    """A row for each comparison: the primary metric."""
    rows = primary_rows(results)
    cells = difference_cells(rows)
    seeds = rows[['seeds_first', 'seeds_second']].fillna(0).astype(int)
    cells['seeds'] = seeds.astype(str).agg(' + '.join, axis=1)
    return cells.set_axis([f'{b} minus {a}' for a, b in rows.index])


def differences(results: Results, pair: Comparison) -> pd.DataFrame:
    """A row for each metric: both detectors, difference and intervals."""
    rows = pair_rows(results, pair)
    rows = rows[rows['at'].str.match('@|$') | rows['metric'].isin(UNITS)]
    metrics = rows['metric'].unique().tolist()
    columns = sorted(
        rows.index,
        key=lambda c: (metrics.index(c[0]), as_number(c[1] or '0')),
    )
    cells = difference_cells(rows.loc[columns]).drop(columns='p after Holm')
    both = means(results, columns).loc[list(pair[:2])].T
    return pd.concat([both, cells], axis=1).set_axis(
        [label(*column) for column in columns]
    )


def built(results: Results, pair: Comparison) -> pd.DataFrame:
    """A row for each part of the two built models."""
    runs = {name: results.runs.get(name) for name in pair[:2]}
    parts = {name: r[0]['built'] if r else {} for name, r in runs.items()}
    keys = dict.fromkeys(key for part in parts.values() for key in part)
    cells = pd.DataFrame(parts, keys, dtype=object).fillna(DASH)
    same = cells[pair.first] == cells[pair.second]
    return cells.assign(differs=np.where(same, 'no', 'yes'))


def by_class(results: Results) -> pd.DataFrame:
    """A row for each class: AP of each detector, and each difference."""
    rows = results.frame[results.frame['metric'] == 'class AP']
    objects = rows.groupby('at', sort=False)['n'].max().astype(int)
    columns = [('class AP', name) for name in objects.index]
    cells = means(results, columns).T.droplevel(0)
    cells.insert(0, 'objects', objects)
    for pair in results.plan.compare:
        rows = pair_rows(results, pair).query('metric == "class AP"')
        found = difference_cells(rows.set_index('at'))
        text = found['difference'] + ' (' + found['95% over images'] + ')'
        cells[f'{pair.second} minus {pair.first}'] = text
    return cells


def reach(results: Results) -> pd.DataFrame:
    """How few proposals of one detector reach the AP of another's own."""
    tried = columns_of(results, 'AP*')
    times = columns_of(results, f'{STAGE}*')
    found = pivot(results, [('AP', ''), *tried, *times])
    rows, names = [], []
    pairs = [pair[:2] for pair in results.plan.compare] if tried else []
    for name, other in pairs + [pair[::-1] for pair in pairs]:
        runs = results.runs.get(name) or [{}]
        own = str(runs[0].get('num_proposals', DASH))
        goal, its = found.loc[name, ('AP', '')], found.loc[other]
        reaching = [at for metric, at in tried if its[metric, at] >= goal]
        known = pd.notna(goal) and its[tried].notna().any()
        at = reaching[0] if reaching else ''
        names.append(name)
        rows.append(
            {
                'AP': show('AP', goal),
                'proposals': own,
                'ms': show('ms', found.loc[name].get((STAGE, f'@{own}'))),
                'reached by': other,
                'with': at[1:] or ('none of these' if known else DASH),
                'its AP': show('AP', its['AP', at] if at else np.nan),
                'its ms': show('ms', its.get((STAGE, at))),
            }
        )
    return pd.DataFrame(rows, names)


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
    runs = {name: runs[0] for name, runs in results.runs.items() if runs}
    return pd.DataFrame({name: run['counts'] for name, run in runs.items()}).T


def provenance(results: Results) -> pd.DataFrame:
    """Each value of versions, commit and hardware, and of how many runs."""
    runs = [run for found in results.runs.values() for run in found]
    rows = pd.concat(
        {
            part: pd.DataFrame([run[part] for run in runs]).fillna(DASH)
            for part in ('environment', 'training')
        },
        axis=1,
    )
    cells = {
        ': '.join(key): ', '.join(
            f'{value} ({n})' for value, n in rows[key].value_counts().items()
        )
        for key in rows
    }
    return pd.DataFrame({'value (runs)': cells})
