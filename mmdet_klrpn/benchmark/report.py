"""A report in every form: page, Markdown, CSV, LaTeX, SVG and PDF."""

import re
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Tuple

import jinja2
import yaml
from markupsafe import Markup, escape

from . import tables
from .examples import Example, find_examples
from .plan import slug
from .plots import Plot, draw_curves, draw_forest
from .results import Results
from .tables import BOLD, DASH, Pair, Table

TEMPLATES = Path(__file__).parent / 'templates'


class Section(NamedTuple):
    """A part of a report, as sections.yaml lists them."""

    title: str
    texts: Tuple[str, ...]
    tables: List[Table]
    plots: List[Plot]
    examples: List[Example]


def write_report(results: Results, out: Path) -> List[Path]:
    """Write a report's files into a folder, made if missing.

    Returns:
        list[Path]: ``index.html``, a page that needs no other file;
        ``report.md``, which shows the plots; ``results.csv`` and
        ``comparisons.csv``, unrounded; every table as CSV and LaTeX; every
        plot as SVG and PDF; examples as JPEG.
    """
    folders = [out / name for name in ('tables', 'plots', 'examples')]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    parts = sections(results)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=lambda name: name == 'index.html.j2',
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters['bold'] = lambda text: Markup(
        BOLD.sub(r'<strong>\1</strong>', str(escape(text)))
    )
    # Words are read from the left, figures compared by their right ends.
    environment.tests['words'] = re.compile('[A-Za-z]{4}').search
    cells = tables.headline(results).to_dict('records')
    given = dict(
        plan=results.plan,
        notes=results.notes,
        runs=results.runs,
        sections=parts,
        verdicts=[
            verdict(pair, row, results.plan.metric)
            for pair, row in zip(results.plan.pairs, cells)
        ],
    )
    files = {
        name: environment.get_template(f'{name}.j2').render(given)
        for name in ('index.html', 'report.md')
    }
    files['results.csv'] = results.frame.to_csv(index=False)
    files['comparisons.csv'] = results.comparisons.to_csv(index=False)
    for name, text in files.items():
        (out / name).write_text(text)
    paths = [out / name for name in files]
    for part in parts:
        for folder, items in zip(folders, part[2:]):
            paths += [path for item in items for path in item.write(folder)]
    return paths


def verdict(pair: Pair, cells: Dict[str, str], metric: str) -> str:
    """What the primary metric says of a comparison, by its headline's cells.

    A significant difference is within ``**``.
    """
    first, second = pair
    difference, seeds, p = (
        cells[name] for name in ('difference', 'seeds', 'p after Holm')
    )
    if difference == DASH:
        return f'{second} and {first}: {metric} is not measured of both.'
    proof = [
        f'95% over {seeds} seeds {cells["95% over seeds"]}',
        f'over images {cells["95% over images"]}',
        f'p {p} after Holm' if p[0] == '<' else f'p = {p} after Holm',
    ]
    proof = f' ({"; ".join(part for part in proof if DASH not in part)}).'
    if BOLD.match(difference):
        side = 'above' if '+' in difference else 'below'
        text = f'{second} is {difference.strip("*+-")} {metric} {side} {first}'
        return f'**{text}**{proof}'
    start = 'No difference shown:'
    if p == DASH:
        few = '1' in seeds.split(' + ')
        reason = f'{seeds} seeds' if few else 'No interval over images'
        start = f'{reason}: no verdict.'
    return f'{start} {second} minus {first} is {difference} {metric}{proof}'


def sections(results: Results) -> List[Section]:
    """What sections.yaml lists, without what has no value."""
    found = []
    for part in yaml.safe_load((TEMPLATES / 'sections.yaml').read_text()):
        pairs = results.plan.pairs if 'pair' in part else [None]
        found += [_section(results, part, pair) for pair in pairs]
    return [section for section in found if any(section[1:])]


def _section(results: Results, part: dict, pair: Optional[Pair]) -> Section:
    names = dict(metric=results.plan.metric)
    if pair:
        names.update(first=pair[0], second=pair[1])
        names['slug'] = '_'.join(map(slug, pair))
    texts, plots, examples = part.get('texts', []), [], []
    shown = []
    for spec in part.get('tables', ()):
        given = [pair] if pair else []
        if 'columns' in spec:
            given = [tables.columns_of(results, *spec['columns'])]
        if given != [[]]:
            cells = getattr(tables, spec.get('of', 'counted'))(results, *given)
            if not cells.empty:
                heads = (spec[k].format(**names) for k in ('name', 'caption'))
                first = spec.get('rows', 'detector')
                shown.append(tables.table(*heads, cells, first))
    if part.get('forest') and results.plan.compare:
        plots.append(draw_forest(results))
    for spec in part.get('plots', ()):
        if tables.columns_of(results, spec['metric'] + '*'):
            plots.append(draw_curves(results, **spec))
    if part.get('examples'):
        examples, gone = find_examples(results)
        texts = [t for t in (*texts * bool(examples), gone) if t]
    title = part['title'].format(**names)
    return Section(title, texts, shown, plots, examples)
