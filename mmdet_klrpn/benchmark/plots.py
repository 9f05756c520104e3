"""Plots of a report, as SVG."""

import io
import re
from typing import Callable, List, NamedTuple, Sequence, Tuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, NullLocator

from .measure import CURVE_IOUS
from .quantities import PRECISIONS, RECALLS
from .summary import PairSummary
from .trade_off import points

COLOURS = {'RPN': '#5b6b7b', 'KL-RPN': '#c8501e'}
# Of recall against IoU: few proposals and many.
RECALL_AT = ((100, '-'), (1000, '--'))
IOU_THRS = np.linspace(0.5, 0.95, 10)
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
    # The same plot is the same file.
    'svg.hashsalt': 'mmdet_klrpn',
}


class Plot(NamedTuple):
    """A plot and what it shows."""

    caption: str
    svg: str


def plots(summary: PairSummary) -> List[Plot]:
    """Every plot of a pair."""
    drawn: Sequence[Tuple[str, Callable]] = (
        (
            'Difference of the means, KL-RPN minus RPN, in points. Thick, '
            'above: 95% over seeds; thin, below: 95% over test images.',
            _draw_differences,
        ),
        (
            'AP against the number of proposals that the second stage is '
            'given. Thick: mean over seeds; thin: each seed.',
            _draw_ap,
        ),
        (
            'Precision against recall of the detections, means over seeds. '
            'Solid: IoU 0.5; dashed: IoU 0.75.',
            _draw_precision,
        ),
        (
            'Recall of the proposals against IoU, means over seeds. '
            'Solid: 100 proposals; dashed: 1000.',
            _draw_recall,
        ),
    )
    return [Plot(caption, _svg(draw, summary)) for caption, draw in drawn]


def _svg(draw: Callable, summary: PairSummary) -> str:
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(4.4, 3.2), layout='constrained')
        draw(figure.subplots(), summary)
        text = io.StringIO()
        figure.savefig(text, format='svg', metadata={'Date': None})
    svg = text.getvalue()
    svg = svg[svg.index('<svg') :]
    # As wide as its place in the page.
    return re.sub(r' (width|height)="[\d.]+pt"', '', svg, count=2)


def _draw_differences(ax: Axes, summary: PairSummary) -> None:
    rows = [
        (quantity, summary.differences[quantity.name])
        for quantity in PRECISIONS + RECALLS
        if quantity.name in summary.differences
    ]
    ax.axvline(0, color='#9a9a9a', linewidth=1)
    for y, (quantity, found) in enumerate(rows):
        colour = COLOURS['KL-RPN' if found.clear else 'RPN']
        # One above the other: either may be the wider.
        for ends, width, shift in (
            (found.over_seeds, 2.5, -0.16),
            (found.over_images, 1, 0.16),
        ):
            if ends is not None:
                x = np.multiply(ends, quantity.scale)
                ax.plot(x, [y + shift] * 2, color=colour, linewidth=width)
        ax.plot(found.mean * quantity.scale, y, 'o', color=colour, ms=4.5)
    ax.set_yticks(range(len(rows)), [q.name for q, _ in rows])
    ax.invert_yaxis()
    ax.grid(axis='y', visible=False)
    ax.set_xlabel('points')


def _draw_ap(ax: Axes, summary: PairSummary) -> None:
    for model, runs in summary.models:
        for run in runs:
            single = points([run])
            _line(ax, model, single, linewidth=0.6, alpha=0.4)
        mean = points(list(runs))
        _line(ax, model, mean, linewidth=1.8, marker='o', ms=3.5, label=model)
    numbers = [point.number for point in points(list(summary.baseline))]
    ax.set_xscale('log')
    ax.set_xticks(numbers, list(map(str, numbers)))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_xlabel('proposals')
    ax.set_ylabel('AP')
    ax.legend(loc='lower right')


def _line(ax: Axes, model: str, line: Sequence, **style: object) -> None:
    ax.plot(
        [point.number for point in line],
        [100 * point.ap for point in line],
        color=COLOURS[model],
        **style,
    )


def _draw_precision(ax: Axes, summary: PairSummary) -> None:
    recall = np.linspace(0, 1, 101)
    for model, runs in summary.models:
        for iou, line in zip(CURVE_IOUS, ('-', '--')):
            curves = [run['precision'][str(iou)] for run in runs]
            mean = np.mean(np.array(curves, dtype=float), axis=0)
            ax.plot(
                recall,
                mean,
                line,
                color=COLOURS[model],
                label=f'{model}, IoU {iou}',
            )
    _unit(ax, 'recall', 'precision')
    ax.set_xlim(0, 1)
    ax.legend(loc='upper right')


def _draw_recall(ax: Axes, summary: PairSummary) -> None:
    for model, runs in summary.models:
        for number, line in RECALL_AT:
            curves = [run['recall']['all'][str(number)] for run in runs]
            mean = np.mean(np.array(curves, dtype=float), axis=0)
            ax.plot(
                IOU_THRS,
                mean,
                line,
                color=COLOURS[model],
                label=f'{model}, {number}',
            )
    _unit(ax, 'IoU', 'recall')
    ax.legend(loc='upper right')


def _unit(ax: Axes, x: str, y: str) -> None:
    ax.set_xlabel(x)
    ax.set_ylabel(y)
    ax.set_ylim(0, 1)
