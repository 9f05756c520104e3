"""A screening's tables, as Markdown and CSV."""

import json
from pathlib import Path
from typing import List, Sequence, Tuple

import numpy as np
import pandas as pd

from mmdet_klrpn.benchmark.statistics import welch
from mmdet_klrpn.benchmark.tables import DASH, Table

from .plan import Screening
from .recall import ALL, CLASS_MEAN
from .study import Cell

_MEANING = """Heads trained alone, by the config's own optimizer and schedule,
on features that are computed once, with training images augmented anew in
every epoch. Backbone, neck and second stage do not learn: these tables screen
settings, and whole detectors decide.

Figures are means over {seeds} seeds, in points: average recall over IoU 0.5 to
0.95 of the 10 or 100 best proposals of a {split} image, whatever their class;
the mean of AR@100 over classes, if there are several; and AR@100 of the
smallest quarter of the objects. In brackets is the difference to the reference
with the half width of Welch's 95% interval over seeds, in bold if it excludes
0. One in twenty would do so by chance."""
_COLUMNS = {
    ('AR@10', ALL): 'AR@10',
    ('AR@100', ALL): 'AR@100',
    ('AR@100', CLASS_MEAN): 'class mean',
    ('AR@100', 'Q1'): 'smallest quarter',
}


def write_report(plan: Screening, cells: List[Cell], out: Path) -> None:
    """Write ``screening.md`` and, with every value, ``screening.csv``.

    Raises:
        FileNotFoundError: If nothing is measured yet.
    """
    frame, environments = read_results(plan, cells)
    meaning = _MEANING.format(split=plan.split, seeds=plan.seeds)
    blocks = [f'# {plan.title}', plan.note, meaning]
    for name, question in plan.questions.items():
        blocks.append(f'## {name}')
        for features, detector in plan.features.items():
            names = [features, name]
            own = [c for c in cells if [c.features, c.question] == names]
            found = frame[(frame[['features', 'question']] == names).all(1)]
            if len(found):
                objects = found.loc[found['group'] == ALL, 'n'].iloc[0]
                blocks += [
                    f'### {features}',
                    f'`{detector.config}`, {objects:.0f} objects.',
                    _markdown(question_table(found, own, plan.seeds)),
                ]
        blocks.append(question.reason)
    blocks += ['## Where it was measured', _markdown(environments)]
    out.mkdir(parents=True, exist_ok=True)
    text = '\n\n'.join(block.strip() for block in blocks if block)
    (out / 'screening.md').write_text(f'{text}\n')
    frame.to_csv(out / 'screening.csv', index=False, lineterminator='\n')


def read_results(
    plan: Screening, cells: List[Cell]
) -> Tuple[pd.DataFrame, pd.DataFrame]:
    """Every recall, and the environments in which they were measured."""
    frames, environments = [], []
    for cell in cells:
        names = dict(zip(Cell._fields[:3], cell[:3]))
        for seed in range(plan.seeds):
            if cell.result(seed).is_file():
                content = json.loads(cell.result(seed).read_text())
                recall = pd.DataFrame(content['recall'])
                frames.append(recall.assign(**names, seed=seed))
                environments.append(content['environment'])
    if not frames:
        raise FileNotFoundError(
            f'no result of these settings and this code in {plan.work_dir}: '
            'run the plan first'
        )
    columns = [*names, 'seed', 'metric', 'group', 'value', 'n']
    table = pd.DataFrame(environments).drop_duplicates(ignore_index=True)
    return pd.concat(frames, ignore_index=True)[columns], table.T


def question_table(
    frame: pd.DataFrame, cells: List[Cell], seeds: int
) -> pd.DataFrame:
    """A row for each of a question's, the reference first, of so many seeds.

    All are of one set of features, and the frame is their recall.
    """
    values = 100 * frame.pivot(
        index='seed', columns=['metric', 'group', 'row'], values='value'
    )
    columns = [c for c in _COLUMNS if c in {key[:2] for key in values}]
    table = pd.DataFrame(columns=[_COLUMNS[column] for column in columns])
    for cell in cells:
        name, same = cell.row, cell.folder == cells[0].folder
        if same:
            name += ' (reference)' if cell is cells[0] else ' (the same)'
        texts = []
        for column in columns:
            first, own = (
                values.get((*column, c.row), pd.Series(dtype=float)).dropna()
                for c in (cells[0], cell)
            )
            texts.append(f'{own.mean():.1f}' if len(own) else DASH)
            if len(first) and len(own) and not same:
                texts[-1] += f' ({show_difference(first, own)})'
        if len(own) < seeds:
            name += f' ({len(own)} of {seeds} seeds)'
        table.loc[name] = texts
    return table


def show_difference(first: Sequence[float], second: Sequence[float]) -> str:
    """Second mean minus first as '+1.2 ± 0.3', bold if that excludes 0."""
    low, high, _ = welch(first, second)
    shown = f'{np.mean(second) - np.mean(first):+.1f}'
    if np.isnan(low):
        return shown
    if low > 0 or high < 0:
        shown = f'**{shown}**'
    return f'{shown} ± {(high - low) / 2:.1f}'


def _markdown(frame: pd.DataFrame) -> str:
    """A table of Markdown, whose first column is the frame's index."""
    return Table('', '', frame.rename_axis('').reset_index()).markdown()
