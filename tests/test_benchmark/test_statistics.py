"""Intervals, against references that know nothing of them."""

import numpy as np
import pytest
from scipy import stats

from mmdet_klrpn.benchmark.statistics import (
    compare,
    count_samples,
    draw_samples,
    percentile_interval,
    student_interval,
)


def test_interval_over_seeds_is_that_of_scipy():
    first, second = [0.1, 0.12, 0.09, 0.11], [0.13, 0.12, 0.12, 0.15]
    expected = stats.ttest_rel(second, first).confidence_interval(0.95)
    found = compare(first, second).over_seeds
    np.testing.assert_allclose(found, (expected.low, expected.high))


def test_interval_over_seeds_covers_the_truth_95_times_in_100():
    generator = np.random.default_rng(0)
    draws = generator.normal(0.3, 2, size=(2000, 5))
    covered = [low < 0.3 < high for low, high in map(student_interval, draws)]
    # The standard error of the share is 0.0049.
    assert np.mean(covered) == pytest.approx(0.95, abs=0.015)


def test_one_seed_has_no_interval_over_seeds():
    found = compare([0.1], [0.2], (np.zeros((1, 9)), np.ones((1, 9))))
    assert found.over_seeds is None
    assert found.over_images == (1, 1)
    assert not found.clear


def test_interval_over_images_is_of_differences_of_means_over_seeds():
    generator = np.random.default_rng(1)
    first, second = generator.normal(size=(2, 3, 500))
    found = compare([0] * 3, [1] * 3, (first, second)).over_images
    differences = [
        sum(second[:, r]) / 3 - sum(first[:, r]) / 3 for r in range(500)
    ]
    np.testing.assert_allclose(
        found, np.percentile(differences, [2.5, 97.5]), rtol=1e-12
    )


def test_resamples_without_an_object_are_left_out():
    assert percentile_interval(np.array([np.nan, 2.0, 2.0])) == (2, 2)
    assert percentile_interval(np.full(3, np.nan)) is None


@pytest.mark.parametrize(
    ('seeds', 'images', 'clear'),
    [
        ([0.1, 0.11, 0.12], [0.1, 0.2], True),
        ([-0.1, 0.11, 0.12], [0.1, 0.2], False),
        ([0.1, 0.11, 0.12], [-0.1, 0.2], False),
        ([-0.1, -0.11, -0.12], [-0.2, -0.1], True),
    ],
)
def test_a_difference_is_clear_if_both_intervals_exclude_0(
    seeds, images, clear
):
    drawn = np.tile(images, (3, 50))
    found = compare([0.0] * 3, seeds, (np.zeros_like(drawn), drawn))
    assert found.clear is clear


def test_unpaired_seeds_are_refused():
    with pytest.raises(ValueError, match='paired, but are 1 and 2'):
        compare([0.1], [0.1, 0.2])


def test_resamples_are_the_same_for_every_run():
    samples = draw_samples(7, 20)
    np.testing.assert_array_equal(samples, draw_samples(7, 20))
    assert samples.shape == (20, 7)
    assert samples.min() == 0
    assert samples.max() == 6
    counts = count_samples(samples)
    for row, count in zip(samples, counts):
        assert [list(row).count(i) for i in range(7)] == count.tolist()
