"""Corrections for many tests, and how small a difference so many episodes can show."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from episodes.intervals import check_fraction, t_quantile
from episodes.intervals import difference_interval as difference_interval
from episodes.intervals import mean_interval as mean_interval
from episodes.intervals import paired_interval as paired_interval
from episodes.intervals import score_interval as score_interval
from episodes.sign_flip import finite_vector
from episodes.sign_flip import sign_flip_test as sign_flip_test

__all__ = [
    "detectable_difference", "difference_interval", "episodes_needed", "holm", "mean_interval", "paired_interval",
    "score_interval", "sign_flip_test",
]  # fmt: skip


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Holm's adjusted p-values: reject those below alpha, and errors of the whole family stay below alpha.

    The i-th smallest of m becomes ``max_{j <= i} min(1, (m - j + 1) p_j)``; no assumption on dependence.

    Raises:
        ValueError: they are no row of numbers from 0 to 1.

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


def detectable_difference(
    differences: ArrayLike, power: float = 0.8, level: float = 0.95, *, interval: float | None = None
) -> float:
    """The smallest true difference that as many episodes would show with probability `power`.

    It solves ``P(t > t_crit) = power`` for the non-centrality of the paired t test, with the spread observed.
    A difference reported as "not significant" does not exclude effects smaller than this.

    Args:
        differences: paired differences per episode ``[n]``.
        power: probability of detection.
        level: 1 minus the significance level of the two-sided test.
        interval: half the width of the interval of the mean, where a wider one than the t interval is reported.

    Returns:
        A difference in the units of the scores; NaN for a single episode.
    """
    values = finite_vector(differences, "differences")
    if len(values) == 1:
        return math.nan
    if interval is None:
        interval = mean_interval(values, level)
    standard_error = interval / t_quantile(len(values) - 1, level)
    return _noncentrality(len(values), power, level) * standard_error


def episodes_needed(differences: ArrayLike, difference: float, power: float = 0.8, level: float = 0.95) -> int:
    """How many paired episodes show a true difference of this size with probability `power`.

    Args:
        differences: paired differences of a pilot run ``[n]``, for their spread; at least two.
        difference: the true difference to be shown, in the units of the scores; its sign does not matter.
        power: probability of detection.
        level: 1 minus the significance level of the two-sided test.

    Raises:
        ValueError: fewer than two differences, no spread among them, nothing to show, or a probability out of range.

    >>> episodes_needed([0.1, -0.1, 0.1, -0.1], 0.01) > 1000
    True
    """
    values = finite_vector(differences, "differences")
    if len(values) < 2 or difference == 0 or not math.isfinite(difference):
        raise ValueError(
            f"{len(values)} differences and difference={difference!r}; "
            "give at least two pilot differences and a difference other than 0."
        )
    if not values.std():
        raise ValueError(f"the {len(values)} pilot differences are all {values[0]:g}, so their spread is unknown; "
                         "give more of them.")  # fmt: skip
    effect = abs(difference) / float(values.std(ddof=1))

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

    check_fraction(power, "power")
    return float(nctdtrinc(n - 1, 1 - power, t_quantile(n - 1, check_fraction(level, "level"))))
