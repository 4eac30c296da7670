"""95 % intervals of a mean over episodes, which cover also where errors, or differences, are rare."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from episodes.sign_flip import finite_vector

# Chosen by simulation, so that 95 % intervals cover in at least 93 % of repetitions wherever they are reported
# (tests/episodes/test_intervals.py).
_LIKENESS = 0.3  # assumed correlation between queries of one episode, as long as the scores do not show it
_WEIGHT = 1.0  # of this assumption: as that of one error in every query of an episode
_RARE = 1.04  # in z^2: how many independent errors may happen without any being seen


def mean_interval(scores: ArrayLike, level: float = 0.95) -> float:
    """Half the width of the t interval of the mean: ``t_{n-1} s / sqrt(n)``.

    It describes repetitions of whatever made the scores independent. Over episodes sampled from one dataset
    that is the sampling; over `episodes.DisjointSampler` episodes it is the data too. For accuracies near 0 or 1 in
    few episodes it is too short; `score_interval` is not.

    Args:
        scores: one number per episode ``[n]``.
        level: probability that the interval covers the true mean.

    Returns:
        The half-width in the units of the scores; NaN for a single score, which has no spread.

    >>> round(mean_interval([0.6, 0.8, 0.7, 0.9]), 4)
    0.2054
    """
    values = finite_vector(scores, "scores")
    if len(values) == 1:
        return math.nan
    standard_error = float(values.std(ddof=1)) / math.sqrt(len(values))
    return t_quantile(len(values) - 1, check_fraction(level, "level")) * standard_error


def paired_interval(a: ArrayLike, b: ArrayLike, level: float = 0.95) -> float:
    """Half the width of the t interval of ``mean(a - b)``, for scores on the same episodes ``[n]``.

    Easy and hard episodes are so to both learners; pairing takes that common part away, and the interval is
    often several times narrower than those of the two means suggest.

    Args:
        a: scores of one learner ``[n]``.
        b: those of the other.
        level: how often it holds the true difference.

    Raises:
        ValueError: of different shapes.
    """
    first, second = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if first.shape != second.shape:
        raise ValueError(
            f"a has shape {list(first.shape)} and b {list(second.shape)}; paired scores belong to the same episodes."
        )
    return mean_interval(first - second, level)


def score_interval(
    scores: ArrayLike, level: float = 0.95, *, bounds: tuple[float, float] = (0.0, 1.0), queries: int = 1
) -> float:
    r"""Half the width of an interval of the mean of bounded scores; never 0, since unseen errors are possible.

    It is the larger of the t interval and ``sqrt(z^2 s^2 / n + (r d / n)^2)``. The second term is the number of
    independent errors that may go unseen (``r = 1.04 z^2``, 4 at 95 %), over the effective number of queries
    ``n / d``; ``d = s^2 / (m (1 - m))`` is 1 / queries where queries are independent and 1 where those of an episode
    are all alike. It is estimated as ``(S + d0) / (B + 1)``, with ``S = sum (x - m)^2``, ``B = n min(m, 1 - m)``, and
    ``d0 = (1 + 0.3 (queries - 1)) / queries`` for as long as no errors are seen. With hundreds of episodes away
    from 0 and 1 it is the t interval; with every answer right in 10 episodes of 75 queries it is ± 0.12.

    Args:
        scores: one number per episode ``[n]``.
        level: probability that the interval covers the true mean.
        bounds: the lowest and the highest possible score.
        queries: scored queries per episode, over which a score is an average; 1 if not known.

    Returns:
        The half-width in the units of the scores; NaN for a single score.

    Raises:
        ValueError: scores outside the bounds.

    Reference: Wilson, "Probable inference, the law of succession, and statistical inference", JASA 1927 (what may go
    unseen); Korn, Graubard, "Confidence intervals for proportions with small expected number of positive counts
    estimated from survey data", Survey Methodology 1998 (the effective number).

    >>> round(score_interval([1.0] * 10, queries=75), 3)
    0.124
    """
    values, (low, high) = finite_vector(scores, "scores"), bounds
    if values.min() < low - 1e-9 or values.max() > high + 1e-9:
        raise ValueError(f"scores lie in {values.min():.6g}..{values.max():.6g}, outside {low:g}..{high:g}.")
    width, mean = high - low, float(values.mean())
    return _interval(values / width, min(mean - low, high - mean) / width, level, queries) * width


def difference_interval(differences: ArrayLike, level: float = 0.95, *, width: float = 1.0, queries: int = 1) -> float:
    """Half the width of an interval of the mean of paired differences; never 0, also where both learners agree.

    As `score_interval`, with ``B = sum |x|``: what may have gone unseen is a query on which the two disagree.

    Args:
        differences: score of one learner minus that of the other, per episode ``[n]``.
        level: probability that the interval covers the true mean.
        width: the largest possible difference.
        queries: scored queries per episode; 1 if not known.

    >>> round(difference_interval([0.0] * 600, queries=75), 4)
    0.0021
    """
    values = finite_vector(differences, "differences") / width
    return _interval(values, float(np.abs(values).mean()), level, queries) * width


def _interval(values: NDArray[np.float64], errors: float, level: float, queries: int) -> float:
    """For values in units of their range, of which `errors` is the mean distance from the nearest bound."""
    n = len(values)
    if n == 1:
        return math.nan
    spread = float(((values - values.mean()) ** 2).sum())
    assumed = (1 + _LIKENESS * (queries - 1)) / queries
    effect = (spread + _WEIGHT * assumed) / (n * max(errors, 0.0) + _WEIGHT)
    z = t_quantile(math.inf, check_fraction(level, "level"))
    variance = spread / (n - 1) / n
    rare = _RARE * z**2 * effect / n
    return max(t_quantile(n - 1, level) * math.sqrt(variance), math.sqrt(z**2 * variance + rare**2))


def t_quantile(freedom: float, level: float) -> float:
    """Half the width of the central interval of a t distribution with that probability."""
    from scipy.special import ndtri, stdtrit  # scipy.stats would take a second to import

    return float(ndtri((1 + level) / 2) if math.isinf(freedom) else stdtrit(freedom, (1 + level) / 2))


def check_fraction(value: float, what: str) -> float:
    """A probability strictly between 0 and 1."""
    if not 0 < value < 1:
        raise ValueError(f"{what}={value!r}; it must lie between 0 and 1, like 0.95.")
    return value
