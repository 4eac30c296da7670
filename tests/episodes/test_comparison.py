"""`compare`: paired over equal episodes, refused over unequal ones, corrected over many."""

from __future__ import annotations

import numpy as np
import pytest

from episodes import EpisodeSampler, Result, Results, TensorSource, compare, compare_all, evaluate
from episodes.intervals import difference_interval
from episodes.statistics import holm, sign_flip_test


def result(name: str, correct: list[int], **evaluation: object) -> Result:
    recipe = {
        "learner": {"spec": name},
        "evaluation": {"dataset": {"name": "toy"}, "way": 5, "shot": 1, "seed": 0, **evaluation},
    }
    return Result(name, recipe, np.array(correct) / 10, query_count=10)


A, B = [7, 8, 9, 6, 7, 9], [6, 8, 7, 6, 8, 5]


def test_differences_are_paired() -> None:
    found = compare(result("a", A), result("b", B))
    differences = (np.array(A) - np.array(B)) / 10
    assert found.difference == pytest.approx(differences.mean())
    assert found.ci95 == pytest.approx(difference_interval(differences, queries=10))
    assert found.p_value == pytest.approx(sign_flip_test(differences, 10))
    assert (found.wins, found.ties, found.losses, found.episodes) == (3, 2, 1, 6)
    assert str(found).startswith("a - b = +10.00 ± ")
    mirrored = compare(result("b", B), result("a", A))
    assert mirrored.difference == -found.difference
    assert mirrored.p_value == found.p_value


def test_other_evaluations_are_refused_by_field() -> None:
    with pytest.raises(ValueError, match=r"have different tasks: shot is 1 and 5; seed is 0 and 3"):
        compare(result("a", A), result("b", B, shot=5, seed=3))
    with pytest.raises(ValueError, match=r"dataset.name is 'toy' and 'other'"):
        compare(result("a", A), result("b", B, dataset={"name": "other"}))


def test_something_else_than_results_is_refused() -> None:
    for given in (Results([result("a", A)]), "a"):
        with pytest.raises(TypeError, match=r"takes two results, such as results\['ridge'\]"):
            compare(given, result("b", B))  # type: ignore[arg-type]


def test_notebooks_show_a_sentence_that_is_escaped() -> None:
    page = compare(result("<i>a", A), result("b", B))._repr_html_()
    assert page.startswith("<p>&lt;i&gt;a - b = +10.00 ± ")
    assert result("<i>a", A)._repr_html_().startswith("<p><b>&lt;i&gt;a</b> on toy, 5-way 1-shot: 76.67 ± ")


def test_the_longer_run_is_cut_and_that_is_said() -> None:
    found = compare(result("a", A), result("b", B[:4]))
    assert found.episodes == 4
    assert "the first 4 paired episodes of a's 6" in str(found)


def test_all_pairs_with_holm() -> None:
    cells = [result("a", A), result("b", B), result("c", [5, 5, 5, 5, 5, 5])]
    found = compare_all(Results(cells))
    assert [(one.a, one.b) for one in found] == [("a", "b"), ("a", "c"), ("b", "c")]
    np.testing.assert_allclose([one.p_adjusted for one in found], holm([one.p_value for one in found]))
    against = compare_all(cells, reference="b")
    assert [(one.a, one.b) for one in against] == [("a", "b"), ("c", "b")]
    with pytest.raises(ValueError, match="reference='z', but the results are of 'a', 'b', 'c'"):
        compare_all(cells, reference="z")


def test_evaluations_are_not_mixed() -> None:
    cells = [result("a", A), result("b", B), result("a", A, shot=5), result("b", B, shot=5)]
    assert [one.evaluation for one in compare_all(cells)] == ["toy 5-way 1-shot", "toy 5-way 5-shot"]


def test_a_learner_equals_itself_on_real_data() -> None:
    rows = np.random.default_rng(0).normal(size=(60, 4))
    source = TensorSource(rows, np.repeat([0, 1, 2], 20))
    sampler = EpisodeSampler(source.labels, 3, 1, 5)
    results = evaluate({"one": "prototypes", "two": "nearest"}, source, sampler, episodes=50)
    found = compare(results["one"], results["two"])
    assert (found.difference, found.ties) == (0.0, 50)  # at one shot they are the same rule
    assert found.p_value == 1.0
