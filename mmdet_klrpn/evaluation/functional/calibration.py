"""Calibration of predicted standard deviations and scores.

Vocabulary and shapes, for the whole file:
    errors  (m, 4), object minus proposal, in pixels
    stds    (m, 4), the predicted standard deviation of each, in pixels
    z       errors / stds, standard normal if the stds are right
    scores  (n, ), objectness in [0, 1], read as a probability
    hits    (n, ), bool, whether a proposal is on an object
"""

from typing import Dict, Sequence, Tuple

import numpy as np
from scipy.special import ndtri
from scipy.stats import norm, rankdata

from .review import box_sizes

COVERAGES = (50, 80, 95)
# Nominal coverages over which the calibration error is averaged.
LEVELS = np.arange(1, 20) / 20
# As in Guo et al., 2017.
NUM_BINS = 15


def std_calibration(
    errors: np.ndarray, stds: np.ndarray, sizes: np.ndarray
) -> Dict[str, float]:
    r"""Compute figures of predicted stds; each edge of a box counts.

    A constant std can be calibrated too. Whether stds tell good proposals from
    bad ones shows in the correlations, and in the NLL compared with that of a
    constant.

    Args:
        errors (np.ndarray): (m, 4), in pixels.
        stds (np.ndarray): (m, 4), in pixels.
        sizes (np.ndarray): (m, 4), the object's extent along each, in pixels.

    Returns:
        dict[str, float]: Nothing if m is 0, else

        - ``coverage@50``, ``@80``, ``@95``: share of errors within the central
          interval of the predicted Gaussian that should hold so many percent.
        - ``std_calibration_error``: mean distance of empirical from nominal
          coverage, over ``LEVELS``; after Kuleshov et al., "Accurate
          Uncertainties for Deep Learning Using Calibrated Regression", 2018,
          but of absolute differences and central intervals.
        - ``nll``: mean negative log-likelihood of an error, in nats;
          ``nll_constant``: that of the best single std in hindsight,
          :math:`\frac12 \log(2 \pi e\, \overline{error^2})`;
          ``nll_share``: that of the best constant share of the box's extent.
        - ``std_factor``: the factor of :func:`fit_std_scale`.
        - ``std``, ``relative_std``: sharpness, the mean std in pixels and
          over the object's extent.
        - ``std_error_correlation``: Pearson's, of std and absolute error;
          ``std_error_rank_correlation``: Spearman's;
          ``relative_std_error_rank_correlation``: Spearman's of both over the
          object's extent, as errors grow with size anyway. Left out if std or
          error is constant.

        ``nll_constant``, ``nll_share`` and ``std_factor`` are left out if all
        errors are 0.

    Raises:
        ValueError: If a std is not positive, or a number is not finite.
    """
    if len(errors) == 0:
        return {}
    z = _z(errors, stds)
    errors, stds, sizes = map(_floats, (errors, stds, sizes))
    nominal = np.array(COVERAGES) / 100
    figures = {
        f'coverage@{percent}': value
        for percent, value in zip(COVERAGES, coverage(errors, stds, nominal))
    }
    distances = np.abs(coverage(errors, stds, LEVELS) - LEVELS)
    figures.update(
        std_calibration_error=distances.mean(),
        nll=(np.log(stds) - norm.logpdf(z)).mean(),
        std=stds.mean(),
        relative_std=(stds / sizes).mean(),
    )
    if errors.any():
        figures['std_factor'] = fit_std_scale(errors, stds)
        variance = np.square(errors).mean()
        figures['nll_constant'] = 0.5 * np.log(2 * np.pi * np.e * variance)
        extents = box_sizes(errors, sizes)
        variance = np.square(errors / extents).mean() * extents**2
        figures['nll_share'] = 0.5 * np.log(2 * np.pi * np.e * variance).mean()
    figures.update(_correlations(np.abs(errors), stds, sizes))
    return {name: float(value) for name, value in figures.items()}


def coverage(
    errors: np.ndarray, stds: np.ndarray, levels: Sequence[float] = LEVELS
) -> np.ndarray:
    r"""Share of errors within central Gaussian intervals.

    The interval with a share p of a Gaussian is
    :math:`|z| \le \Phi^{-1}((1 + p) / 2)`.

    Args:
        errors (np.ndarray): (m, 4), in pixels, m above 0.
        stds (np.ndarray): (m, 4), in pixels.
        levels (Sequence[float]): (l, ), nominal coverages in (0, 1).

    Returns:
        np.ndarray: (l, ), empirical coverages, in [0, 1].

    Raises:
        ValueError: If a std is not positive, or a number is not finite.
    """
    bounds = ndtri((1 + np.asarray(levels)) / 2)
    distances = np.sort(np.abs(_z(errors, stds)), axis=None)
    return np.searchsorted(distances, bounds, 'right') / distances.size


def fit_std_scale(errors: np.ndarray, stds: np.ndarray) -> float:
    r"""The factor on the stds that minimises the negative log-likelihood.

    With :math:`NLL(s) = \log s + \overline{z^2} / 2 s^2` and constants, it is
    :math:`s = \sqrt{\overline{z^2}}`: temperature scaling, as Guo et al.,
    2017, do for classifiers.

    If z has heavier tails than a Gaussian, no factor makes every interval
    right. This one matches the second moment, as training does, and keeps the
    wide intervals, which users rely on, nearly right; a factor from the median
    of abs(z) makes the 50% interval right and the wide ones too narrow. No
    outlier dominates, because the IoU bounds the errors of matched proposals
    by the extent of object and proposal.

    Args:
        errors (np.ndarray): (m, 4), in pixels.
        stds (np.ndarray): (m, 4), in pixels.

    Returns:
        float: The factor, above 0.

    Raises:
        ValueError: If all errors are 0, a std is not positive, or a number is
            not finite.
    """
    z = _z(errors, stds)
    if not z.any():
        raise ValueError(
            f'errors must hold one other than 0, but none of {z.size} is: '
            'train longer, or fit on images with objects'
        )
    return float(np.sqrt(np.square(z).mean()))


def interval_factors(
    errors: np.ndarray, stds: np.ndarray, levels: Sequence[float]
) -> np.ndarray:
    r"""Half-widths, in stds, of intervals that hold given shares of errors.

    An edge plus or minus ``factor * std`` then holds the share of errors that
    it says, whatever their distribution, where :func:`fit_std_scale` assumes a
    Gaussian. It is split conformal prediction with the std as the scale (Lei
    et al., "Distribution-Free Predictive Inference for Regression", JASA 2018,
    section 5.2): the :math:`\lceil (m + 1) p \rceil`-th smallest of the m
    values of abs(z).

    Args:
        errors (np.ndarray): (m, 4), in pixels, of images that the detector
            was not trained on.
        stds (np.ndarray): (m, 4), in pixels.
        levels (Sequence[float]): (l, ), shares in (0, 1).

    Returns:
        np.ndarray: (l, ), the factors.

    Raises:
        ValueError: If there is no error, a std is not positive, or a number
            is not finite.
    """
    distances = np.sort(np.abs(_z(errors, stds)), axis=None)
    if not distances.size:
        raise ValueError('errors must hold one at least, but got none')
    ranks = np.ceil((distances.size + 1) * np.asarray(levels)).astype(int)
    return distances[ranks.clip(max=distances.size) - 1]


def objectness_calibration(
    scores: np.ndarray, hits: np.ndarray
) -> Dict[str, float]:
    """Compute figures of scores as probabilities of an object.

    Args:
        scores (np.ndarray): (n, ), in [0, 1].
        hits (np.ndarray): (n, ), bool.

    Returns:
        dict[str, float]: Nothing if n is 0, else

        - ``objectness_ece``: expected calibration error, the distance of mean
          score from frequency, over the bins of :func:`reliability_diagram`
          weighted by their number of proposals (Guo et al., "On Calibration
          of Modern Neural Networks", 2017).
        - ``objectness_brier``: mean squared distance of score and hit (Brier,
          1950).
        - ``objectness_mean``, ``hit_rate``: mean score, share of hits.

    Raises:
        ValueError: If a score is not in [0, 1].
    """
    if len(scores) == 0:
        return {}
    means, frequencies, counts = reliability_diagram(scores, hits)
    scores, hits = _floats(scores), _floats(hits)
    return dict(
        objectness_ece=float(
            np.average(np.abs(means - frequencies), weights=counts)
        ),
        objectness_brier=float(np.square(scores - hits).mean()),
        objectness_mean=float(scores.mean()),
        hit_rate=float(hits.mean()),
    )


def reliability_diagram(
    scores: np.ndarray, hits: np.ndarray
) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean score and frequency of objects in bins of equal width.

    Args:
        scores (np.ndarray): (n, ), in [0, 1].
        hits (np.ndarray): (n, ), bool.

    Returns:
        tuple[np.ndarray, np.ndarray, np.ndarray]: Mean score, share of hits
        and number of proposals of each bin that is not empty, by ascending
        score; at most ``NUM_BINS``.

    Raises:
        ValueError: If a score is not in [0, 1].
    """
    scores, hits = _floats(scores), _floats(hits)
    valid = (scores >= 0) & (scores <= 1)
    if not valid.all():
        raise ValueError(
            'scores must be in [0, 1] to be read as probabilities, but got '
            f'{scores[~valid][0]}'
        )
    # A bin includes its upper edge, the first also 0.
    bins = np.ceil(scores * NUM_BINS).astype(int).clip(min=1) - 1
    counts = np.bincount(bins)
    used = counts > 0
    means, frequencies = (
        np.bincount(bins, weights=values)[used] / counts[used]
        for values in (scores, hits)
    )
    return means, frequencies, counts[used]


def _floats(values: np.ndarray) -> np.ndarray:
    """Convert to double precision, for long sums."""
    return np.asarray(values, dtype=np.float64)


def _z(errors: np.ndarray, stds: np.ndarray) -> np.ndarray:
    """Check errors and stds, and return their ratio."""
    errors, stds = _floats(errors), _floats(stds)
    for name, values, valid in (
        ('errors', errors, np.isfinite(errors)),
        ('stds', stds, np.isfinite(stds) & (stds > 0)),
    ):
        if not valid.all():
            remedy = 'finite' if name == 'errors' else 'finite and above 0'
            raise ValueError(
                f'{name} must be {remedy}, but got {values[~valid][0]}'
            )
    return errors / stds


def _correlations(
    distances: np.ndarray, stds: np.ndarray, sizes: np.ndarray
) -> Dict[str, float]:
    """Correlations of absolute errors with their stds, where defined."""
    figures = {}
    pixels = (stds.ravel(), distances.ravel())
    shares = ((stds / sizes).ravel(), (distances / sizes).ravel())
    for name, correlate, pair in (
        ('std_error_correlation', np.corrcoef, pixels),
        ('std_error_rank_correlation', _rank_correlate, pixels),
        ('relative_std_error_rank_correlation', _rank_correlate, shares),
    ):
        if all(np.ptp(values) > 0 for values in pair):
            figures[name] = correlate(*pair)[0, 1]
    return figures


def _rank_correlate(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Spearman's correlation matrix: Pearson's of the ranks."""
    return np.corrcoef(rankdata(x), rankdata(y))
