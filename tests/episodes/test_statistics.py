"""Intervals and tests equal SciPy's or a brute-force count, and cover what they say."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from episodes.statistics import (
    detectable_difference,
    episodes_needed,
    holm,
    mean_interval,
    paired_interval,
    sign_flip_test,
)


def random(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_mean_interval_is_the_t_interval() -> None:
    scores = random().uniform(size=40)
    low, high = stats.t.interval(0.95, 39, scores.mean(), stats.sem(scores))
    assert mean_interval(scores) == pytest.approx((high - low) / 2)
    low, high = stats.t.interval(0.9, 39, scores.mean(), stats.sem(scores))
    assert mean_interval(scores, level=0.9) == pytest.approx((high - low) / 2)
    assert np.isnan(mean_interval([0.5]))
    assert mean_interval([0.5, 0.5]) == 0


def test_the_interval_covers_the_mean_as_often_as_it_says() -> None:
    draws = random(1).binomial(75, 0.7, (4000, 100)) / 75
    inside = [abs(scores.mean() - 0.7) <= mean_interval(scores) for scores in draws]
    assert 0.935 < np.mean(inside) < 0.965


def test_paired_interval_equals_scipy() -> None:
    a, b = random().uniform(size=(2, 30))
    found = stats.ttest_rel(a, b).confidence_interval(0.95)
    assert paired_interval(a, b) == pytest.approx((found.high - found.low) / 2)


def brute_force(steps: np.ndarray) -> float:
    """Share of all sign patterns whose sum is at least as far from zero."""
    sums = [abs(np.dot(signs, np.abs(steps))) for signs in product((-1, 1), repeat=len(steps))]
    return float(np.mean(np.array(sums) >= abs(steps.sum())))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-6, 6), min_size=1, max_size=10))
def test_sign_flips_on_a_grid_are_exact(steps: list[int]) -> None:
    values = np.array(steps)
    assert sign_flip_test(values / 75, grid=75) == pytest.approx(brute_force(values), rel=1e-9)
    assert sign_flip_test(values / 75) == pytest.approx(brute_force(values), rel=1e-9)


def test_sign_flips_off_a_grid_are_exact_for_few_values() -> None:
    values = random(3).normal(size=9) + 0.4
    expected = stats.permutation_test((values,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert sign_flip_test(values) == pytest.approx(expected.pvalue, rel=1e-6)


def test_many_episodes_agree_with_the_normal_limit() -> None:
    steps = random(4).integers(-8, 9, 10_000)
    p = sign_flip_test(steps / 75, grid=75)
    z = abs(steps.sum()) / np.sqrt((steps**2).sum())
    assert p == pytest.approx(2 * stats.norm.sf(z), rel=0.02)
    assert 0 < sign_flip_test((steps + 2) / 75, grid=75) < 1e-12


def test_p_values_are_uniform_under_the_null_and_never_zero() -> None:
    draws = random(5).integers(-5, 6, (400, 60)) / 75
    p = np.array([sign_flip_test(row, grid=75) for row in draws])
    assert stats.kstest(p, "uniform").pvalue > 0.01
    assert sign_flip_test(np.zeros(50), grid=75) == 1.0


def test_holm_by_hand() -> None:
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm([0.9, 0.8]), [1.0, 1.0])
    assert len(holm([])) == 0


def test_the_detectable_difference_is_detected_as_often_as_it_says() -> None:
    noise = random(6).normal(size=(3000, 50))
    size = detectable_difference(noise[0] / noise[0].std(ddof=1))
    found = [stats.ttest_1samp(row + size, 0).pvalue < 0.05 for row in noise]
    assert 0.77 < np.mean(found) < 0.83


def test_episodes_needed_inverts_the_detectable_difference() -> None:
    differences = random(7).normal(scale=0.1, size=400)
    size = detectable_difference(differences)
    assert episodes_needed(differences, size) == pytest.approx(400, abs=2)
    assert episodes_needed(differences, size / 2) == pytest.approx(1600, rel=0.02)


@pytest.mark.parametrize("bad", [[], [float("nan"), 1.0], [[0.1, 0.2]]])
def test_bad_scores_are_refused(bad: object) -> None:
    for function in (mean_interval, sign_flip_test):
        with pytest.raises(ValueError, match=r"."):
            function(bad)  # type: ignore[operator]
