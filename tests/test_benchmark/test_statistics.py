"""Intervals and p-values, against scipy and by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mmdet_klrpn.benchmark.statistics import bootstrap, holm, welch

samples = st.lists(st.floats(-100, 100), min_size=2, max_size=8)


@given(samples, samples)
def test_welch_is_scipy_s(first, second):
    if np.std(first) + np.std(second) < 1e-6:
        return  # where scipy divides by nothing
    low, high, p = welch(first, second)
    expected = stats.ttest_ind(second, first, equal_var=False)
    interval = expected.confidence_interval(0.95)
    np.testing.assert_allclose([low, high], interval, rtol=1e-6, atol=1e-9)
    assert p == pytest.approx(expected.pvalue, rel=1e-6, abs=1e-12)


def test_welch_without_variance():
    assert welch([1, 1], [3, 3, 3]) == (2, 2, 0)
    assert welch([0.1] * 3, [0.1] * 2)[2] == 1


@pytest.mark.parametrize('first', [[], [1.0], [1.0, float('nan')]])
def test_welch_of_one_seed_is_no_interval(first):
    assert np.isnan(welch(first, [1.0, 2.0])).all()
    assert np.isnan(welch([1.0, 2.0], first)).all()


def test_bootstrap_by_hand():
    second = np.arange(1, 100) / 100  # 0.01 to 0.99
    low, high, p = bootstrap(np.full(99, 0.05), second)
    assert (low, high) == pytest.approx((0.0345 - 0.05, 0.9655 - 0.05))
    # Five of 99 are not above 0: two-sided 2 * (1 + 5) / (1 + 99).
    assert p == pytest.approx(0.12)
    assert bootstrap(second, second)[2] == 1
    assert np.isnan(bootstrap(np.full(3, np.nan), np.ones(3))).all()


def naive_holm(values):
    """Each p-value against those that are not smaller, one by one."""
    return [
        min(
            1,
            max(
                other * sum(each >= other for each in values)
                for other in values
                if other <= value
            ),
        )
        for value in values
    ]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8, unique=True))
def test_holm(values):
    np.testing.assert_allclose(holm(values), naive_holm(values))


def test_holm_leaves_out_what_has_no_p():
    found = holm([0.03, float('nan'), 0.01])
    np.testing.assert_allclose(found, [0.03, np.nan, 0.02])
