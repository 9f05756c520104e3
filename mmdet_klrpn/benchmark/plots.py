"""Plots of a report, as SVG and PDF of which the bytes are always the same."""

import io
import itertools
import re
from pathlib import Path
from typing import List, NamedTuple, Sequence

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from .results import Results
from .tables import UNITS, as_number, columns_of, pivot, primary_rows

# Paul Tol's muted scheme, which the colour-blind can tell apart too; its grey
# is black here.
COLOURS = ['#332288', '#cc6677', '#117733', '#ddcc77', '#88ccee']
COLOURS += ['#882255', '#44aa99', '#999933', '#aa4499', '#000000']
MARKERS = 'osD^vPX<>*'
STYLE = {
    'axes.edgecolor': '#9a9a9a',
    'axes.grid': True,
    'axes.spines.right': False,
    'axes.spines.top': False,
    'font.family': 'sans-serif',
    'font.size': 9,
    'grid.color': '#e6e6e6',
    'legend.frameon': False,
    # Text stays text: it is small, sharp, and can be searched.
    'svg.fonttype': 'none',
    'pdf.fonttype': 42,
    'svg.hashsalt': 'mmdet_klrpn',
}


class Plot(NamedTuple):
    """A figure, what it shows, and the stem of its files."""

    name: str
    caption: str
    figure: Figure

    @matplotlib.rc_context(STYLE)
    def svg(self) -> str:
        """As an element of a page, with ids that no other plot has."""
        text = io.StringIO()
        # Without any of them there is no block of metadata with addresses.
        keys = ('Creator', 'Date', 'Format', 'Type')
        self.figure.savefig(text, format='svg', metadata=dict.fromkeys(keys))
        svg = text.getvalue()
        svg = svg[svg.index('<svg') :]
        # As wide as its place in the page, to a hundredth of a point.
        svg = re.sub(r' (width|height)="[\d.]+pt"', '', svg, count=2)
        svg = re.sub(r'(\d\.\d\d)\d+(?=[^<]*>)', r'\1', svg)
        return re.sub(r'(\bid="|url\(#|href="#)', rf'\g<1>{self.name}-', svg)

    @matplotlib.rc_context(STYLE)
    def write(self, folder: Path) -> List[Path]:
        """Write it as SVG and PDF into a folder that exists."""
        svg, pdf = (folder / f'{self.name}.{kind}' for kind in ('svg', 'pdf'))
        svg.write_text(self.svg())
        self.figure.savefig(pdf, metadata={'CreationDate': None})
        return [svg, pdf]


@matplotlib.rc_context(STYLE)
def draw_forest(results: Results) -> Plot:
    """The primary metric's difference and intervals of all comparisons."""
    rows = primary_rows(results)
    figure = Figure((4.8, 0.9 + 0.5 * len(rows)), layout='constrained')
    ax = figure.subplots()
    ax.axvline(0, color='#9a9a9a', linewidth=1, zorder=0)
    # Names are above their intervals, where they do not squeeze the axes.
    place = dict(transform=ax.get_yaxis_transform(), fontsize=8)
    box = dict(facecolor='white', edgecolor='none', pad=1)
    for y, ((first, second), row) in enumerate(rows.iterrows()):
        colour = COLOURS[0] if row['significant'] is True else '#777777'
        for over, shift, width in (('seeds', -0.08, 3), ('images', 0.08, 1)):
            ends = 100 * row[[f'{over}_low', f'{over}_high']].astype(float)
            ax.plot(ends, [y + shift] * 2, color=colour, lw=width)
        ax.plot(100 * row['difference'], y, 'o', color=colour, ms=5)
        ax.text(0.01, y - 0.24, f'{second} minus {first}', bbox=box, **place)
    ax.set(ylim=(len(rows) - 0.5, -0.65), yticks=[])
    ax.set_xlabel(f'difference in {results.plan.metric}, points')
    caption = (
        'Differences of all comparisons. Thick: 95% over seeds; thin: 95% '
        'over images; coloured: significant after Holm.'
    )
    return Plot('comparisons', caption, figure)


@matplotlib.rc_context(STYLE)
def draw_curves(
    results: Results, name: str, metric: str, caption: str, axes: Sequence[str]
) -> Plot:
    """A metric of all detectors along its ``at``: mean and deviation.

    The axes are the labels of x and y.
    """
    columns = columns_of(results, f'{metric}*')
    x = [as_number(at) for _, at in columns]
    scale = UNITS[metric][0] if metric in UNITS else 100
    mean, std = (pivot(results, columns, how) for how in ('mean', 'std'))
    figure = Figure((4.4, 2.8 + 0.19 * len(mean)), layout='constrained')
    ax = figure.subplots()
    looks = zip(mean.index, itertools.cycle(COLOURS), itertools.cycle(MARKERS))
    for detector, colour, marker in looks:
        y, band = scale * mean.loc[detector], scale * std.loc[detector]
        if y.notna().any():
            look = dict(marker=marker if len(x) <= 20 else '', ms=4)
            ax.plot(x, y, color=colour, label=detector, **look)
            look = dict(color=colour, alpha=0.2, lw=0)
            ax.fill_between(x, y - band, y + band, **look)
    if columns[0][1][0] == '@':
        ax.set_xscale('log')
        ax.set_xticks(x, [f'{n:g}' for n in x])
        ax.xaxis.set_minor_locator(NullLocator())
    if metric.endswith('FP'):
        ax.set_yscale('log')
    ax.set(xlabel=axes[0], ylabel=axes[1])
    # Below the axes, however many and long the names are.
    ax.legend(loc='upper center', bbox_to_anchor=(0.5, -0.17), fontsize=8)
    return Plot(name, caption, figure)
