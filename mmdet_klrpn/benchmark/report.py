"""A report in every form: page, Markdown, CSV, LaTeX, SVG and PDF."""

from pathlib import Path
from typing import Dict, List, NamedTuple, Optional

import jinja2
import numpy as np
import yaml
from markupsafe import Markup, escape

from . import tables
from .examples import Example, find_examples
from .plan import Comparison
from .plots import Plot, draw_curves, draw_forest
from .results import Results
from .runs import slug
from .tables import BOLD, Table


class Section(NamedTuple):
    """A part of a report, of which sections.yaml says what it holds."""

    title: str
    texts: List[str]
    tables: List[Table]
    plots: List[Plot]
    examples: List[Example]


def write_report(results: Results, out: Path) -> List[Path]:
    """Write a report's files.

    Args:
        results (Results): What it tells.
        out (Path): Folder of the files, made if missing.

    Returns:
        list[Path]: ``index.html``, a page that needs no other file;
        ``report.md`` and its plots; ``results.csv`` and ``comparisons.csv``,
        unrounded; every table as CSV and LaTeX, every plot as SVG and PDF.
    """
    folders = [out / name for name in ('tables', 'plots', 'examples')]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(__package__),
        autoescape=jinja2.select_autoescape(['html.j2']),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters['bold'] = bold
    parts = sections(results, environment)
    verdicts = [verdict(results, pair) for pair in results.plan.compare]
    written = []
    for name in ('index.html', 'report.md'):
        template = environment.get_template(f'{name}.j2')
        text = template.render(
            results=results, sections=parts, verdicts=verdicts
        )
        (out / name).write_text(text)
        written.append(out / name)
    for name in ('frame', 'comparisons'):
        path = out / ('results.csv' if name == 'frame' else f'{name}.csv')
        getattr(results, name).to_csv(path, index=False)
        written.append(path)
    for part in parts:
        for folder, items in zip(folders, part[2:]):
            for item in items:
                written += item.write(folder)
    return written


def sections(
    results: Results, environment: jinja2.Environment
) -> List[Section]:
    """What sections.yaml lists, without tables and plots of no value."""
    source = environment.loader.get_source(environment, 'sections.yaml')[0]
    found = []
    for part in yaml.safe_load(source):
        each = part.get('each') == 'comparison'
        for pair in results.plan.compare if each else [None]:
            found.append(_section(results, part, pair))
    return [s for s in found if any(s[1:])]


def _section(
    results: Results, part: dict, pair: Optional[Comparison]
) -> Section:
    names: Dict[str, str] = dict(metric=results.plan.metric)
    if pair:
        names.update(first=pair.first, second=pair.second)
        names.update(slug=f'{slug(pair.first)}_{slug(pair.second)}')
    texts = list(part.get('texts', ()))
    shown, plots, examples = [], [], []
    for spec in part.get('tables', ()):
        columns = tables.columns_of(results, *spec.get('columns', ()))
        arguments = [columns] if 'columns' in spec else []
        if pair:
            arguments.append(pair)
        cells = getattr(tables, spec.get('of', 'means'))(results, *arguments)
        name, caption = (spec[key].format(**names) for key in ('name', 'caption'))
        if not cells.empty:
            shown.append(tables.table(name, caption, cells, spec.get('rows', 'detector')))
    return Section(part['title'].format(**names), texts, shown, plots, examples)
