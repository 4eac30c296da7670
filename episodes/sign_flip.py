"""The exact sign-flip test: could random variation alone make two equally good learners differ so much?"""

from __future__ import annotations

import math
import sys
from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

_LARGEST_GRID = 1000  # with finer scores the exact distribution would have millions of values
_ENUMERATED = 20  # up to 2**20 sign patterns are tried one by one
_FLIPS = 9_999  # random sign patterns where neither exact road is open
_OUTSIDE = 1e-25  # tilted probability left outside the window of the exact distribution


def sign_flip_test(differences: ArrayLike, grid: int | None = None) -> float:
    """Two-sided sign-flip permutation test of the mean of paired differences.

    If both learners were equally good, each difference could as well have the other sign. The p-value is the
    share of all ``2^n`` sign patterns whose sum is at least as far from 0 as the observed one. Accuracies are
    multiples of ``1 / grid``, so the sums lie on a lattice and their distribution is computed exactly: to 8
    digits at any size of p, in milliseconds for thousands of episodes. Other differences are enumerated up
    to n = 20; beyond that 9,999 random patterns with a fixed seed give ``(b + 1) / (m + 1)``.

    Args:
        differences: score of one learner minus that of the other, per episode ``[n]``.
        grid: scored queries per episode; None finds it from the differences where there is one up to 1,000.

    Returns:
        A p-value above 0 (the smallest float stands for anything smaller) and at most 1.

    Raises:
        ValueError: no differences, not finite, or not multiples of ``1 / grid``.

    Reference: Fisher, "The design of experiments", 1935 (the test); Nagarajan, Jones, Keich, "Computing the
    P-value of the information content from an alignment of multiple sequences", Bioinformatics 2005
    (Fourier transform of a tilted distribution, for small p-values).

    >>> sign_flip_test([0.2, 0.2, 0.4, 0.2, 0.6], grid=5)
    0.0625
    """
    values = finite_vector(differences, "differences")
    if grid is None:
        grid = _find_grid(values)
        if grid is None:
            return _by_patterns(values[values != 0])
    steps = np.rint(values * grid)
    if np.abs(values * grid - steps).max() > 1e-6:
        worst = values[np.abs(values * grid - steps).argmax()]
        raise ValueError(
            f"grid={grid}, but a difference is {worst:.6g}, which is no multiple of 1/{grid}; "
            "give the number of scored queries per episode, or None if it varies."
        )
    return _by_lattice(steps.astype(np.int64))


def _by_lattice(steps: NDArray[np.int64]) -> float:
    """Exact two-sided p of ``|sum(steps)|`` under random signs.

    With ``sum = 2 B - total``, B is a sum of ``v Binomial(c_v, 1/2)`` over the distinct sizes v, and p is
    ``2 P(B >= b)``. A plain Fourier transform has errors of 1e-16, which drown small p-values. Therefore B is
    tilted, ``P_t(B = x) = P(B = x) exp(t x - L(t))``, such that its mean is b: there nothing is small.
    """
    observed = abs(int(steps.sum()))
    if observed == 0:
        return 1.0
    sizes, counts = np.unique(np.abs(steps[steps != 0]), return_counts=True)
    unit = int(np.gcd.reduce(sizes))
    sizes, observed = sizes // unit, observed // unit
    total = int(sizes @ counts)
    if observed == total:
        return max(2.0 ** (1 - int(counts.sum())), sys.float_info.min)
    bound = (total + observed) // 2
    tilt = _tilt(sizes, counts, bound)
    share = _logistic(tilt * sizes)  # of each size, those with a positive sign
    spread = math.sqrt(float((counts * sizes**2 * share * (1 - share)).sum()))

    # Bernstein's inequality: all but _OUTSIDE of the tilted probability lies within `half_width` of the mean, so
    # the transform may be that short; the rest wraps around.
    log = math.log(2 / _OUTSIDE)
    half_width = math.ceil(log * sizes.max() / 3 + math.sqrt((log * sizes.max() / 3) ** 2 + 2 * log * spread**2))
    length = min(total + 1, 2 * half_width + 1)
    frequency = np.arange(length // 2 + 1)
    roots = np.exp(-2j * np.pi * np.arange(length) / length)
    transform = np.ones(len(frequency), np.complex128)
    for size, count, positive in zip(sizes.tolist(), counts.tolist(), share.tolist(), strict=True):
        transform *= (1 - positive + positive * roots[frequency * size % length]) ** count
    tilted = np.fft.irfft(transform, length)

    values = np.arange(bound, min(total, bound + length // 2) + 1)
    tail = float((np.clip(tilted[values % length], 0, None) * np.exp(-tilt * (values - bound))).sum())
    scale = float((counts * (np.logaddexp(0, tilt * sizes) - math.log(2))).sum()) - tilt * bound
    return min(1.0, max(2 * math.exp(max(scale, -745.0)) * tail, sys.float_info.min))


def _tilt(sizes: NDArray[np.int64], counts: NDArray[np.int64], mean: int) -> float:
    """The tilt under which B has this mean, which lies above half its largest value; by bisection."""

    def tilted_mean(tilt: float) -> float:
        return float((counts * sizes * _logistic(tilt * sizes)).sum())

    low, high = 0.0, 1.0
    while tilted_mean(high) < mean:
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if tilted_mean(middle) < mean else (low, middle)
    return high


def _by_patterns(values: Array) -> float:
    """Two-sided p of ``|sum(values)|`` under all, or many random, sign patterns."""
    limit = abs(values.sum()) - 1e-12 * np.abs(values).sum()  # sums that differ by rounding only are ties
    if len(values) <= _ENUMERATED:
        sums = np.zeros(1)
        for value in values:
            sums = np.concatenate([sums + value, sums - value])
        return float((np.abs(sums) >= limit).mean())
    generator = np.random.Generator(np.random.Philox(0))
    width = -(-len(values) // 8)  # bytes that hold one sign for each value
    extreme, block = 0, max(1, 2**20 // len(values))
    for first in range(0, _FLIPS, block):
        count = min(block, _FLIPS - first)
        bits = generator.integers(256, size=(count, width), dtype=np.uint8)
        flipped = np.unpackbits(bits, axis=1, count=len(values)).astype(np.float64)
        extreme += int((np.abs(values.sum() - 2 * (flipped @ values)) >= limit).sum())
    return (extreme + 1) / (_FLIPS + 1)


def _find_grid(values: Array) -> int | None:
    """The smallest g up to _LARGEST_GRID of whose 1/g all values are multiples."""
    grid = 1
    for value in np.unique(np.abs(values)).tolist():
        near = Fraction(value).limit_denominator(_LARGEST_GRID)
        grid = math.lcm(grid, near.denominator)
        if abs(float(near) - value) > 1e-9 or grid > _LARGEST_GRID:
            return None
    return grid


def _logistic(x: NDArray[np.floating]) -> NDArray[np.floating]:
    return 0.5 * (1 + np.tanh(0.5 * x))


def finite_vector(values: ArrayLike, what: str) -> Array:
    """Values as float64 ``[n]``, refused where there are none or some are not finite."""
    array = np.asarray(values, np.float64)
    if array.ndim != 1 or array.size == 0 or not np.isfinite(array).all():
        given = f"of shape {list(array.shape)}" + ("" if np.isfinite(array).all() else ", some not finite")
        raise ValueError(f"{what} are {given}; they must be at least one finite number, one per episode.")
    return array
