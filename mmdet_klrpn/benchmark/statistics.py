"""Intervals of a difference: over seeds, and over test images."""

from typing import NamedTuple, Optional, Sequence, Tuple

import numpy as np
from scipy import stats

LEVEL = 0.95
Interval = Tuple[float, float]


class Difference(NamedTuple):
    """A difference between two detectors, KL-RPN's minus the baseline's.

    Attributes:
        mean (float): Difference of the means over seeds.
        over_seeds (tuple[float, float], optional): 95% interval of Student's
            t of the differences by seed; None with fewer than two seeds.
        over_images (tuple[float, float], optional): 95% interval of the
            paired bootstrap over test images; None where there is none.
    """

    mean: float
    over_seeds: Optional[Interval]
    over_images: Optional[Interval]

    @property
    def clear(self) -> bool:
        """Whether each interval excludes 0, and there is one over seeds."""
        intervals = [i for i in (self.over_seeds, self.over_images) if i]
        return self.over_seeds is not None and all(
            low > 0 or high < 0 for low, high in intervals
        )


def student_interval(differences: Sequence[float]) -> Optional[Interval]:
    """95% interval of the mean of differences that are paired by seed.

    Mean +- t s / sqrt(n) with n - 1 degrees of freedom: what is expected of
    other seeds on the same data.

    Returns:
        tuple[float, float], optional: None with fewer than two.
    """
    values = np.asarray(differences, dtype=float)
    if len(values) < 2:
        return None
    half = stats.t.ppf((1 + LEVEL) / 2, len(values) - 1) * stats.sem(values)
    return float(values.mean() - half), float(values.mean() + half)


def draw_samples(num_images: int, resamples: int, seed: int = 0) -> np.ndarray:
    """Resamples of the test images, (R, I) positions.

    Seeded, and so the same for each run: of both models and of all seeds.
    """
    generator = np.random.default_rng(seed)
    return generator.integers(num_images, size=(resamples, num_images))


def count_samples(samples: np.ndarray) -> np.ndarray:
    """How often each image is in each resample, (R, I)."""
    return np.stack(
        [np.bincount(row, minlength=samples.shape[1]) for row in samples]
    )


def percentile_interval(differences: np.ndarray) -> Optional[Interval]:
    """95% percentile interval of differences, one of each resample.

    Args:
        differences (np.ndarray): (R, ), NaN where a resample holds nothing
            to measure.

    Returns:
        tuple[float, float], optional: None if there is no resample.
    """
    valid = differences[~np.isnan(differences)]
    if not len(valid):
        return None
    tails = (1 - LEVEL) / 2, (1 + LEVEL) / 2
    low, high = np.quantile(valid, tails)
    return float(low), float(high)


def compare(
    baseline: Sequence[float],
    kl_rpn: Sequence[float],
    resampled: Optional[Tuple[np.ndarray, np.ndarray]] = None,
) -> Difference:
    """Compare a metric of two detectors.

    Args:
        baseline (Sequence[float]): Values by seed.
        kl_rpn (Sequence[float]): Values of the same seeds, in their order.
        resampled (tuple[np.ndarray, np.ndarray], optional): (S, R) values of
            each seed and resample of the test images, of the baseline and of
            KL-RPN.

    Raises:
        ValueError: If the seeds are not as many.
    """
    if len(baseline) != len(kl_rpn) or not len(baseline):
        raise ValueError(
            f'seeds must be paired, but are {len(baseline)} and {len(kl_rpn)}'
        )
    differences = np.subtract(kl_rpn, baseline)
    over_images = None
    if resampled is not None:
        first, second = (np.asarray(values) for values in resampled)
        over_images = percentile_interval(second.mean(0) - first.mean(0))
    return Difference(
        float(differences.mean()),
        student_interval(differences),
        over_images,
    )
