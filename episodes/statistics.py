"""Intervals, corrections for many tests, and how small a difference an exam can show."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from episodes.sign_flip import finite_vector
from episodes.sign_flip import sign_flip_test as sign_flip_test


def mean_interval(scores: ArrayLike, level: float = 0.95) -> float:
    """Half the width of the t interval of the mean: ``t_{n-1} s / sqrt(n)``.

    It describes repetitions of whatever made the scores independent. Over episodes sampled from one dataset
    that is the sampling; over `episodes.DisjointSampler` episodes it is the data too.

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
    return _t(len(values) - 1, _check_fraction(level, "level")) * standard_error


def paired_interval(a: ArrayLike, b: ArrayLike, level: float = 0.95) -> float:
    """Half the width of the t interval of ``mean(a - b)``, for scores on the same episodes ``[n]``.

    Easy and hard episodes are so to both learners; pairing takes that common part away, and the interval is
    often several times narrower than those of the two means suggest.
    """
    return mean_interval(_differences(a, b), level)


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Holm's adjusted p-values: reject those below alpha, and errors of the whole family stay below alpha.

    The i-th smallest of m becomes ``max_{j <= i} min(1, (m - j + 1) p_j)``; no assumption on dependence.

    Reference: Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of
    Statistics 1979.

    >>> holm([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.06, 0.06]
    """
    p = np.asarray(p_values, np.float64)
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f"p_values are {p.tolist()}; they must be numbers from 0 to 1 in one list.")
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1, np.maximum.accumulate((len(p) - np.arange(len(p))) * p[order]))
    return adjusted


def detectable_difference(differences: ArrayLike, power: float = 0.8, level: float = 0.95) -> float:
    """The smallest true difference that as many episodes would show with probability `power`.

    It solves ``P(t > t_crit) = power`` for the non-centrality of the paired t test, with the spread observed.
    A difference reported as "not significant" says little about effects smaller than this.

    Args:
        differences: paired differences per episode ``[n]``.
        power: probability of detection.
        level: 1 minus the significance level of the two-sided test.

    Returns:
        A difference in the units of the scores; NaN for a single episode.
    """
    values = finite_vector(differences, "differences")
    if len(values) == 1:
        return math.nan
    return _noncentrality(len(values), power, level) * float(values.std(ddof=1)) / math.sqrt(len(values))


def episodes_needed(differences: ArrayLike, difference: float, power: float = 0.8, level: float = 0.95) -> int:
    """How many paired episodes show a true difference of this size with probability `power`.

    Args:
        differences: paired differences of a pilot run ``[n]``, for their spread; at least two.
        difference: the true difference to be shown, in the units of the scores; its sign does not matter.
        power: probability of detection.
        level: 1 minus the significance level of the two-sided test.

    >>> episodes_needed([0.1, -0.1, 0.1, -0.1], 0.01) > 1000
    True
    """
    values = finite_vector(differences, "differences")
    if len(values) < 2 or difference == 0 or not math.isfinite(difference):
        raise ValueError(
            f"{len(values)} differences and difference={difference!r}; "
            "give at least two pilot differences and a difference other than 0."
        )
    effect = abs(difference) / float(values.std(ddof=1)) if values.std() else math.inf

    def enough(n: int) -> bool:
        return _noncentrality(n, power, level) <= effect * math.sqrt(n)

    low, high = 1, 2
    while not enough(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _noncentrality(n: int, power: float, level: float) -> float:
    """How many standard errors from 0 the mean must lie for the t test to have this power."""
    from scipy.special import nctdtrinc

    _check_fraction(power, "power")
    return float(nctdtrinc(n - 1, 1 - power, _t(n - 1, _check_fraction(level, "level"))))


def _t(freedom: int, level: float) -> float:
    from scipy.special import stdtrit  # scipy.stats would take a second to import

    return float(stdtrit(freedom, (1 + level) / 2))


def _differences(a: ArrayLike, b: ArrayLike) -> NDArray[np.float64]:
    first, second = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if first.shape != second.shape:
        raise ValueError(
            f"a has shape {list(first.shape)} and b {list(second.shape)}; paired scores belong to the same episodes."
        )
    return first - second


def _check_fraction(value: float, what: str) -> float:
    if not 0 < value < 1:
        raise ValueError(f"{what}={value!r}; it must lie between 0 and 1, like 0.95.")
    return value
