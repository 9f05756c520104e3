"""A report as one page of HTML that needs nothing else."""

import re
from html import escape
from typing import Sequence

from .sections import Fold, Section
from .tables import Table

_STYLE = """
:root { --ink: #22262a; --soft: #5b6570; --line: #dfe3e6; }
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 2.5rem 1.25rem 4rem; max-width: 62rem;
  color: var(--ink); background: #fff;
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
}
h1 { font-size: 1.9rem; line-height: 1.2; font-weight: 600; margin: 0 0 1rem; }
h2 {
  font-size: 1.3rem; font-weight: 600; margin: 3rem 0 .75rem;
  padding-top: 1rem; border-top: 1px solid var(--line);
}
p { max-width: 44rem; margin: .5rem 0; overflow-wrap: anywhere; }
nav { color: var(--soft); font-size: .9rem; }
nav a { color: inherit; margin-right: 1rem; white-space: nowrap; }
.table { overflow-x: auto; margin: 1.25rem 0; }
table {
  border-collapse: collapse; font-size: .85rem;
  font-variant-numeric: tabular-nums;
}
caption {
  text-align: left; font-weight: 600; padding-bottom: .4rem;
  white-space: nowrap;
}
th, td { padding: .3rem .55rem; text-align: right; white-space: nowrap; }
th { font-weight: 500; color: var(--soft); }
thead th { border-bottom: 1px solid var(--ink); vertical-align: bottom; }
tbody tr { border-bottom: 1px solid var(--line); }
tbody th {
  text-align: left; color: var(--ink);
  position: sticky; left: 0; background: #fff;
}
table.text td { text-align: left; white-space: normal; }
.plots {
  display: grid; gap: 1.5rem; margin: 1.5rem 0;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr));
}
figure { margin: 0; }
figure svg { display: block; width: 100%; height: auto; }
figcaption { font-size: .8rem; color: var(--soft); max-width: 30rem; }
summary { cursor: pointer; color: var(--soft); margin: .5rem 0; }
pre {
  overflow: auto; max-height: 30rem; padding: 1rem; font-size: .75rem;
  line-height: 1.4; background: #f6f7f8;
}
@media (max-width: 40rem) {
  body { padding-top: 1.25rem; }
  h1 { font-size: 1.5rem; }
  tbody th { white-space: normal; min-width: 7.5rem; }
  th, td { padding: .3rem .45rem; }
}
@media print { details { display: none; } body { max-width: none; } }
"""


def to_html(title: str, parts: Sequence[Section]) -> str:
    """A page of all sections.

    Args:
        title (str): Of the page.
        parts (Sequence[Section]): Its sections.
    """
    links = ''.join(
        f'<a href="#s{i}">{escape(part.title)}</a> '
        for i, part in enumerate(parts)
    )
    body = '\n'.join(_section(i, part) for i, part in enumerate(parts))
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>{escape(title)}</h1>
<nav>{links}</nav>
{body}
</body>
</html>
"""


def _section(number: int, part: Section) -> str:
    lines = [f'<section id="s{number}">', f'<h2>{escape(part.title)}</h2>']
    lines += [f'<p>{escape(text)}</p>' for text in part.paragraphs]
    lines += map(_table, part.tables)
    if part.plots:
        figures = (
            f'<figure>{_own_names(plot.svg, f"s{number}p{i}")}'
            f'<figcaption>{escape(plot.caption)}</figcaption></figure>'
            for i, plot in enumerate(part.plots)
        )
        lines += ['<div class="plots">', *figures, '</div>']
    lines += map(_fold, part.folded)
    return '\n'.join([*lines, '</section>'])


def _table(table: Table) -> str:
    head = ''.join(f'<th scope="col">{escape(x)}</th>' for x in table.header)
    rows = ''.join(
        f'<tr><th scope="row">{escape(name)}</th>'
        + ''.join(f'<td>{_cell(cell)}</td>' for cell in cells)
        + '</tr>\n'
        for name, *cells in table.rows
    )
    kind = ' class="text"' if len(table.header) == 2 else ''
    return (
        f'<div class="table"><table{kind}>'
        f'<caption>{escape(table.title)}</caption>\n'
        f'<thead><tr>{head}</tr></thead>\n<tbody>{rows}</tbody></table></div>'
    )


def _cell(cell: str) -> str:
    """A cell, of which Markdown's bold becomes HTML's."""
    return re.sub(r'^\*\*(.*)\*\*$', r'<strong>\1</strong>', escape(cell))


def _fold(fold: object) -> str:
    if isinstance(fold, Fold):
        inner = f'<pre>{escape(fold.text)}</pre>'
    else:
        inner = _table(fold)
    return f'<details><summary>{escape(fold.title)}</summary>{inner}</details>'


def _own_names(svg: str, prefix: str) -> str:
    """Give a plot's parts names that no other plot in the page has."""
    svg = re.sub(r'\bid="', f'id="{prefix}-', svg)
    svg = svg.replace('url(#', f'url(#{prefix}-')
    return svg.replace('href="#', f'href="#{prefix}-')
