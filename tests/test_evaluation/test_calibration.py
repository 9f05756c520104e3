"""Figures of calibration against scipy, naive loops and known truths."""

import numpy as np
import pytest
from scipy import stats as scipy_stats

from mmdet_klrpn.evaluation.functional import (
    LEVELS,
    coverage,
    fit_std_scale,
    interval_factors,
    objectness_calibration,
    reliability_diagram,
    std_calibration,
)

ROWS = 5000


def gaussian(factor, rows=ROWS, seed=0):
    """Errors whose true std is the predicted times a factor."""
    generator = np.random.default_rng(seed)
    stds = np.exp(generator.normal(1, 0.7, (rows, 4)))
    sizes = generator.uniform(20, 90, (rows, 4))
    return factor * stds * generator.normal(size=(rows, 4)), stds, sizes


def binomial_bound(share, count):
    """Five standard deviations of an empirical share."""
    return 5 * np.sqrt(share * (1 - share) / count)


@pytest.mark.parametrize('factor', [0.5, 1.0, 1.7])
def test_recovers_the_factor_of_gaussian_errors(factor):
    errors, stds, _ = gaussian(factor)
    fitted = fit_std_scale(errors, stds)
    # The standard error of a Gaussian's std.
    assert abs(fitted / factor - 1) < 5 / np.sqrt(2 * errors.size)
    for level, share in zip(LEVELS, coverage(errors, fitted * stds)):
        assert abs(share - level) < binomial_bound(level, errors.size)
    for level, share in zip(LEVELS, coverage(errors, stds)):
        # What an interval of the wrong std holds.
        half = scipy_stats.norm.interval(level)[1] / factor
        held = 1 - 2 * scipy_stats.norm.sf(half)
        assert abs(share - held) < binomial_bound(held, errors.size)


def test_figures_equal_scipy_s():
    errors, stds, sizes = gaussian(1.3, rows=200)
    sizes = sizes + 5 * np.abs(errors).max()  # no box is turned inside out
    figures = std_calibration(
        *(x.astype(np.float32) for x in (errors, stds, sizes))
    )
    nll = -scipy_stats.norm.logpdf(errors, scale=stds).mean()
    constant = np.sqrt((errors**2).mean())
    nll_constant = -scipy_stats.norm.logpdf(errors, scale=constant).mean()
    # The box is the object less the errors of its two edges.
    extents = [
        sizes[:, i] - errors[:, i % 2 + 2] + errors[:, i % 2] for i in range(4)
    ]
    extents = np.stack(extents, axis=1)
    share = np.sqrt(((errors / extents) ** 2).mean())
    nll_share = -scipy_stats.norm.logpdf(
        errors, scale=share * np.abs(extents)
    ).mean()
    distances = np.abs(errors)
    shares = stds / sizes, distances / sizes
    expected = dict(
        nll=nll,
        nll_constant=nll_constant,
        nll_share=nll_share,
        std_factor=np.sqrt(((errors / stds) ** 2).mean()),
        std=stds.mean(),
        relative_std=(stds / sizes).mean(),
        std_error_correlation=scipy_stats.pearsonr(
            stds.ravel(), distances.ravel()
        )[0],
        std_error_rank_correlation=scipy_stats.spearmanr(
            stds.ravel(), distances.ravel()
        )[0],
        relative_std_error_rank_correlation=scipy_stats.spearmanr(
            *(share.ravel() for share in shares)
        )[0],
    )
    for name, value in expected.items():
        assert figures[name] == pytest.approx(value, rel=1e-5), name
    for percent in (50, 80, 95):
        low, high = scipy_stats.norm.interval(percent / 100, scale=stds)
        within = np.mean((low <= errors) & (errors <= high))
        assert figures[f'coverage@{percent}'] == within
    curve = [
        np.mean(distances <= scipy_stats.norm.interval(level, scale=stds)[1])
        for level in np.linspace(0.05, 0.95, 19)
    ]
    error = np.abs(np.array(curve) - np.linspace(0.05, 0.95, 19)).mean()
    assert figures['std_calibration_error'] == pytest.approx(error)
    assert len(figures) == 3 + 1 + len(expected)
    assert all(type(value) is float for value in figures.values())


def test_factor_minimises_the_negative_log_likelihood():
    errors, stds, sizes = gaussian(1.3, rows=200)
    factor = fit_std_scale(errors, stds)
    best = std_calibration(errors, factor * stds, sizes)['nll']
    for other in (0.97 * factor, 1.03 * factor):
        assert std_calibration(errors, other * stds, sizes)['nll'] > best


def test_heavy_tails_leave_the_wide_interval_nearly_true():
    """Why the factor is not one from the median, which is robust."""
    z = np.random.default_rng(0).standard_t(4, (ROWS, 4))
    stds = np.ones_like(z)
    robust = np.median(np.abs(z)) / scipy_stats.norm.ppf(0.75)
    (ours,) = coverage(z, fit_std_scale(z, stds) * stds, [0.95])
    (theirs,) = coverage(z, robust * stds, [0.95])
    assert abs(ours - 0.95) < 0.01
    assert theirs < 0.92


@pytest.mark.parametrize('tails', [3, 30])
def test_intervals_hold_their_share_whatever_the_tails(tails):
    generator = np.random.default_rng(0)
    stds = np.exp(generator.normal(1, 0.7, (2 * ROWS, 4)))
    errors = stds * generator.standard_t(tails, (2 * ROWS, 4))
    levels = [0.5, 0.8, 0.95]
    factors = interval_factors(errors[:ROWS], stds[:ROWS], levels)
    for level, factor in zip(levels, factors):
        bound = scipy_stats.t.interval(level, tails)[1]
        assert factor == pytest.approx(bound, rel=0.05)
        held = np.abs(errors[ROWS:]) <= factor * stds[ROWS:]
        assert held.mean() == pytest.approx(level, abs=0.01)


def test_the_interval_of_few_errors_is_the_widest():
    errors = np.array([[1.0, 2, 3, 4]])
    stds = np.full((1, 4), 2.0)
    # The third of four: ceil(5 / 2); the fifth, where there are four.
    found = interval_factors(errors, stds, [0.5, 0.95])
    assert found.tolist() == [1.5, 2.0]
    with pytest.raises(ValueError, match='must hold one at least'):
        interval_factors(errors[:0], stds[:0], [0.5])


def test_a_true_std_beats_a_constant():
    errors, stds, sizes = gaussian(1.0)
    figures = std_calibration(errors, stds, sizes)
    assert figures['nll'] < figures['nll_constant'] - 0.2
    # Right on average for every proposal alike: calibrated, but no wiser.
    constant = np.full_like(stds, np.sqrt((errors**2).mean()))
    figures = std_calibration(errors, constant, sizes)
    assert figures['nll'] == pytest.approx(figures['nll_constant'])
    assert figures['std_factor'] == pytest.approx(1)


def naive_ece(scores, hits, num_bins=15):
    """Bin by bin, proposal by proposal."""
    total = 0.0
    for i in range(num_bins):
        low, high = i / num_bins, (i + 1) / num_bins
        own = [
            (score, hit)
            for score, hit in zip(scores, hits)
            if low < score <= high or (i == 0 and score == 0)
        ]
        if own:
            confidence = sum(score for score, _ in own) / len(own)
            accuracy = sum(hit for _, hit in own) / len(own)
            total += len(own) * abs(confidence - accuracy)
    return total / len(scores)


def test_objectness_equals_a_naive_reference():
    generator = np.random.default_rng(0)
    scores = np.concatenate([generator.beta(0.5, 0.7, 300), [0.0, 1.0]])
    hits = generator.random(302) < scores**2
    figures = objectness_calibration(scores, hits)
    assert figures['objectness_ece'] == pytest.approx(naive_ece(scores, hits))
    brier = sum((s - h) ** 2 for s, h in zip(scores, hits)) / 302
    assert figures['objectness_brier'] == pytest.approx(brier)
    assert figures['objectness_mean'] == pytest.approx(scores.mean())
    assert figures['hit_rate'] == hits.sum() / 302


def test_probabilities_lie_on_the_diagonal():
    generator = np.random.default_rng(0)
    scores = generator.random(40_000)
    hits = generator.random(40_000) < scores
    means, frequencies, counts = reliability_diagram(scores, hits)
    assert counts.sum() == 40_000
    assert len(counts) == 15
    for mean, frequency, count in zip(means, frequencies, counts):
        assert abs(frequency - mean) < binomial_bound(mean, count)
    # An overconfident score, whose error is known: E[sqrt(s) - s].
    figures = objectness_calibration(np.sqrt(scores), hits)
    assert figures['objectness_ece'] == pytest.approx(1 / 6, abs=0.01)


def test_bins_without_a_proposal_are_left_out():
    means, frequencies, counts = reliability_diagram(
        np.array([0.0, 0.01, 1.0, 0.5]), np.array([False, True, True, False])
    )
    np.testing.assert_allclose(means, [0.005, 0.5, 1.0])
    np.testing.assert_allclose(frequencies, [0.5, 0.0, 1.0])
    np.testing.assert_array_equal(counts, [2, 1, 1])


def test_of_nothing_there_is_no_figure():
    nothing = np.zeros((0, 4))
    assert std_calibration(nothing, nothing, nothing) == {}
    assert objectness_calibration(np.zeros(0), np.zeros(0, dtype=bool)) == {}


def test_undefined_figures_are_left_out():
    ones = np.ones((1, 4))
    figures = std_calibration(0 * ones, 2 * ones, 10 * ones)
    assert figures == pytest.approx(
        {
            'coverage@50': 1.0,
            'coverage@80': 1.0,
            'coverage@95': 1.0,
            'std_calibration_error': 0.5,
            'nll': 0.5 * np.log(2 * np.pi * 4),
            'std': 2.0,
            'relative_std': 0.2,
        }
    )


@pytest.mark.parametrize(
    ('errors', 'stds', 'message'),
    [
        (1.0, 0.0, 'stds must be finite and above 0, but got 0.0'),
        (1.0, np.inf, 'stds must be finite and above 0, but got inf'),
        (np.nan, 1.0, 'errors must be finite, but got nan'),
        (0.0, 1.0, 'one other than 0, but none of 4 is: train longer'),
    ],
)
def test_refuses_what_no_factor_mends(errors, stds, message):
    ones = np.ones((1, 4))
    with pytest.raises(ValueError, match=message):
        fit_std_scale(errors * ones, stds * ones)


def test_refuses_scores_that_are_no_probabilities():
    with pytest.raises(ValueError, match=r'in \[0, 1\] .* but got -3.0'):
        reliability_diagram(np.array([0.5, -3.0]), np.array([True, False]))
