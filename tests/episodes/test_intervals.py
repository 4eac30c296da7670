"""Intervals cover the true mean in at least 93 of 100 repetitions, and are the t interval where that covers."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from episodes import Result, compare
from episodes.intervals import difference_interval, mean_interval, score_interval

LEAST = 0.93  # observed coverage varies by 0.006


def accuracies(
    rng: np.random.Generator, episodes: int, queries: int, accuracy: float, likeness: float, repeats: int = 1500
) -> np.ndarray:  # type: ignore[type-arg]
    """Repetitions of evaluations ``[repeats, episodes]``; `likeness` is the correlation of answers in an episode."""
    size = (repeats, episodes)
    if not likeness:
        return rng.binomial(queries, accuracy, size) / queries
    strength = (1 - likeness) / likeness
    return rng.binomial(queries, rng.beta(accuracy * strength, (1 - accuracy) * strength, size)) / queries


def halves(draws: np.ndarray, function, **more) -> np.ndarray:  # type: ignore[no-untyped-def, type-arg]
    """The half-width of each repetition, computed once for equal ones."""
    known: dict[bytes, float] = {}
    found = np.empty(len(draws))
    for i, row in enumerate(np.sort(draws, axis=1)):
        key = row.tobytes()
        if key not in known:
            known[key] = function(row, **more)
        found[i] = known[key]
    return found


@pytest.mark.parametrize("episodes", [3, 10, 30, 100])
def test_scores_are_covered(episodes: int) -> None:
    rng = np.random.default_rng(episodes)
    missed = {}
    for queries, accuracy, likeness in product((5, 75), (0.5, 0.9, 0.99, 0.999), (0.0, 0.1, 0.3)):
        draws = accuracies(rng, episodes, queries, accuracy, likeness)
        covered = np.abs(draws.mean(1) - accuracy) <= halves(draws, score_interval, queries=queries) + 1e-12
        if covered.mean() < LEAST:
            missed[queries, accuracy, likeness] = covered.mean()
    assert not missed


def test_ten_episodes_of_five_queries_at_99_percent() -> None:
    draws = accuracies(np.random.default_rng(0), 10, 5, 0.99, 0.0)
    error = np.abs(draws.mean(1) - 0.99)
    assert np.mean(error <= halves(draws, mean_interval)) < 0.5  # what the t interval covers
    assert np.mean(error <= halves(draws, score_interval, queries=5)) > 0.93


@pytest.mark.parametrize("disagree", [0.001, 0.05, 0.5])
def test_differences_are_covered(disagree: float) -> None:
    rng = np.random.default_rng(1)
    missed = {}
    for episodes, share, likeness in product((5, 30), (0.5, 0.7, 1.0), (0.0, 0.3)):
        queries = 15
        differ = np.rint(queries * accuracies(rng, episodes, queries, disagree, likeness)).astype(int)
        draws = (2 * rng.binomial(differ, share) - differ) / queries  # queries that only a, and that only b has right
        error = np.abs(draws.mean(1) - disagree * (2 * share - 1))
        covered = error <= halves(draws, difference_interval, queries=queries) + 1e-12
        if covered.mean() < LEAST:
            missed[episodes, share, likeness] = covered.mean()
    assert not missed


@pytest.mark.parametrize("accuracy", [0.5, 0.7, 0.9])
@pytest.mark.parametrize("likeness", [0.0, 0.1, 0.3])
def test_with_hundreds_of_episodes_it_is_the_t_interval(accuracy: float, likeness: float) -> None:
    for episodes, queries in ((600, 15), (600, 75), (2000, 75)):
        scores = accuracies(np.random.default_rng(2), episodes, queries, accuracy, likeness, repeats=1)[0]
        assert 0.999999 < score_interval(scores, queries=queries) / mean_interval(scores) < 1.02


def test_no_interval_is_zero() -> None:
    evaluation = {"dataset": {"name": "toy"}, "way": 5, "shot": 1, "query": 15}
    a, b = (
        Result(name, {"learner": {"spec": name}, "evaluation": evaluation}, np.ones(600), query_count=75)
        for name in "ab"
    )
    assert str(a) == "100.00 ± 0.21 (95 %, 600 episodes)"
    assert str(compare(a, b)) == "a - b = +0.00 ± 0.21 (95 %, 600 paired episodes), p = 1.000"
    assert compare(a, b).detectable > compare(a, b).ci95
    disjoint = Result("a", a.recipe, np.full(200_000, 0.5), query_count=2, interval="disjoint")
    assert str(disjoint) == "50.00 ± 0.01 (95 %, 200,000 disjoint episodes)"  # rounded up, not to 0.00


def test_too_few_episodes_are_said_in_words() -> None:
    evaluation = {"dataset": {"name": "toy"}, "way": 5, "shot": 1, "query": 8}
    recipe = {"learner": {"spec": "a"}, "evaluation": evaluation}
    two = Result("a", recipe, np.array([0.4, 0.75]), query_count=40)
    assert two.ci95 > 2
    assert str(two) == "57.50 (2 episodes: too few for an interval)"
    assert str(Result("a", recipe, np.array([0.4]), query_count=40)) == "40.00 (1 episode: too few for an interval)"
    other = Result("b", recipe, np.array([0.7, 0.0]), query_count=40)
    assert str(compare(two, other)) == "a - b = +22.50 (2 paired episodes: too few for an interval)"


def test_scales_and_mirrors() -> None:
    scores = np.random.default_rng(3).uniform(0.6, 1, 20)
    half = score_interval(scores, queries=15)
    assert score_interval(1 - scores, queries=15) == pytest.approx(half)
    assert score_interval(10 * scores - 5, bounds=(-5, 5), queries=15) == pytest.approx(10 * half)
    differences = scores - 0.8
    half = difference_interval(differences, queries=15)
    assert difference_interval(-10 * differences, width=10, queries=15) == pytest.approx(10 * half)
    assert score_interval(scores, 0.99) > score_interval(scores, 0.9)
    with pytest.raises(ValueError, match=r"scores lie in 0.2..1.5, outside 0..1"):
        score_interval([0.2, 1.5])
