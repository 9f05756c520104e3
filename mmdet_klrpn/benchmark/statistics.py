"""Intervals and p-values of a difference: over seeds, and over images."""

from typing import Sequence, Tuple

import numpy as np
from scipy import stats

LEVEL = 0.95
# Lower and upper end of a 95% interval, and the p-value of no difference.
Interval = Tuple[float, float, float]
NO_INTERVAL: Interval = (float('nan'),) * 3


def welch(first: Sequence[float], second: Sequence[float]) -> Interval:
    """Interval of ``mean(second) - mean(first)`` over seeds, and its p.

    Welch, "The generalization of 'Student's' problem when several different
    population variances are involved", Biometrika 34, 1947. Seeds of two
    detectors need be neither paired nor as many.

    Returns:
        tuple[float, float, float]: NaN with fewer than two seeds of either,
        or a NaN among the values. Without any variance, both ends are the
        difference, and p is 0, or 1 of no difference.
    """
    one, two = np.asarray(first, float), np.asarray(second, float)
    if min(len(one), len(two)) < 2 or np.isnan([*one, *two]).any():
        return NO_INTERVAL
    difference = float(two.mean() - one.mean())
    squares = np.array([v.var(ddof=1) / len(v) for v in (one, two)])
    error = float(np.sqrt(squares.sum()))
    # Equal values have some variance where their mean is rounded.
    rounding = 1e-12 * np.abs([*one, *two]).max()
    if error <= rounding:
        return difference, difference, float(abs(difference) <= rounding)
    freedom = error**4 / sum(squares**2 / [len(one) - 1, len(two) - 1])
    half = float(stats.t.ppf((1 + LEVEL) / 2, freedom)) * error
    p = float(2 * stats.t.sf(abs(difference) / error, freedom))
    return difference - half, difference + half, p


def bootstrap(first: np.ndarray, second: np.ndarray) -> Interval:
    """Percentile interval of ``second - first`` over images, and its p.

    Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapters
    13 and 15.

    Args:
        first (np.ndarray): (R, ), a mean over seeds for each resample of the
            images; NaN where it holds nothing to measure.
        second (np.ndarray): That of the other detector on the same resamples.
    """
    drawn = second - first
    drawn = drawn[~np.isnan(drawn)]
    if not len(drawn):
        return NO_INTERVAL
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    fewer = min(np.sum(drawn <= 0), np.sum(drawn >= 0))
    p = min(2 * (1 + fewer) / (1 + len(drawn)), 1)
    return float(low), float(high), float(p)


def holm(p_values: Sequence[float]) -> np.ndarray:
    """P-values adjusted for how many comparisons are made; NaN stays.

    Holm, "A Simple Sequentially Rejective Multiple Test Procedure",
    Scandinavian Journal of Statistics 6, 1979.
    """
    adjusted = np.array(p_values, dtype=float)
    order = np.argsort(adjusted)[: np.sum(~np.isnan(adjusted))]
    steps = adjusted[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return adjusted
