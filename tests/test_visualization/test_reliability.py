"""Reliability plots: what is drawn where."""

import numpy as np
from matplotlib.figure import Figure

from mmdet_klrpn.visualization import draw_coverage, draw_reliability


def test_curves_share_one_diagonal():
    ax = Figure().add_subplot()
    levels = np.array([0.2, 0.5, 0.8])
    draw_coverage(ax, levels, levels**2, 'narrow', color='red')
    draw_coverage(ax, levels, levels**0.5, 'wide')
    diagonal, narrow, wide = ax.lines
    np.testing.assert_array_equal(diagonal.get_xydata(), [[0, 0], [1, 1]])
    np.testing.assert_array_equal(narrow.get_xdata(), levels)
    np.testing.assert_array_equal(narrow.get_ydata(), levels**2)
    np.testing.assert_array_equal(wide.get_ydata(), levels**0.5)
    assert narrow.get_color() == 'red'
    labels = [text.get_text() for text in ax.legend().get_texts()]
    assert labels == ['narrow', 'wide']


def test_markers_have_areas_as_their_counts():
    ax = Figure().add_subplot()
    scores, frequencies = np.array([0.1, 0.5, 0.9]), np.array([0.3, 1, 0.6])
    draw_reliability(ax, scores, frequencies, np.array([1600, 4, 400]), 'RPN')
    points = np.stack([scores, frequencies], axis=1)
    np.testing.assert_array_equal(ax.lines[1].get_xydata(), points[[0, 2]])
    (markers,) = ax.collections
    np.testing.assert_array_equal(markers.get_offsets(), points)
    large, least, small = markers.get_sizes()
    assert large == 4 * small == 400 * least
    # No proposal at all.
    nothing = np.zeros(0)
    draw_reliability(ax, nothing, nothing, nothing)
