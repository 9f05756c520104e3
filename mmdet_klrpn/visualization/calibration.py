"""Reliability diagrams of standard deviations and scores."""

from typing import Optional

import numpy as np
from matplotlib.axes import Axes

# Area of the largest marker, in square points.
_LARGEST_MARKER = 150
# Bins with a smaller share of the proposals are markers without a line.
_LEAST_SHARE = 0.01


def draw_coverage(
    ax: Axes,
    nominal: np.ndarray,
    empirical: np.ndarray,
    label: Optional[str] = None,
    **style,
) -> None:
    """Add a reliability curve of stds; correct ones lie on the diagonal.

    Above the diagonal the stds are too large, below too small.

    Args:
        ax (Axes): Where to draw, the same for all curves of a picture.
        nominal (np.ndarray): (l, ), coverages of central intervals, in [0, 1].
        empirical (np.ndarray): (l, ), share of errors within each.
        label (str, optional): Name in the legend.
        **style: Of the line, as matplotlib's ``plot`` takes it.
    """
    _draw_diagonal(ax)
    ax.plot(nominal, empirical, label=label, **style)
    ax.set_xlabel('nominal coverage of the central interval')
    ax.set_ylabel('share of errors within')


def draw_reliability(
    ax: Axes,
    scores: np.ndarray,
    frequencies: np.ndarray,
    counts: np.ndarray,
    label: Optional[str] = None,
    **style,
) -> None:
    """Add a reliability diagram; probabilities lie on the diagonal.

    Below the diagonal the scores are overconfident.

    Args:
        ax (Axes): Where to draw, the same for all curves of a picture.
        scores (np.ndarray): (b, ), mean score of each bin, in [0, 1].
        frequencies (np.ndarray): (b, ), share of proposals on an object.
        counts (np.ndarray): (b, ), proposals in each: area of its marker.
        label (str, optional): Name in the legend.
        **style: Of the line, as matplotlib's ``plot`` takes it.
    """
    _draw_diagonal(ax)
    counts = np.asarray(counts)
    # Frequencies of few proposals are noise: no line through them.
    many = counts >= _LEAST_SHARE * counts.sum()
    (line,) = ax.plot(scores[many], frequencies[many], label=label, **style)
    areas = _LARGEST_MARKER * counts / max(counts, default=1)
    ax.scatter(scores, frequencies, s=areas, color=line.get_color(), alpha=0.5)
    ax.set_xlabel('mean score of the bin')
    ax.set_ylabel('share of proposals on an object')


def _draw_diagonal(ax: Axes) -> None:
    """Draw the diagonal, once per picture."""
    if not ax.lines:
        ax.plot([0, 1], [0, 1], color='grey', lw=0.8, ls=':')
        ax.set(xlim=(0, 1), ylim=(0, 1), aspect='equal')
