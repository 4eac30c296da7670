"""`Results`: exact on disk, mergeable, and clear about which cell is meant."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from episodes import Result, Results


def cell(learner: str = "proto", shot: int = 1, episodes: int = 4, **more: object) -> Result:
    evaluation = {
        "dataset": {"name": "toy", "fingerprint": "f"},
        "sampler": "fixed",
        "way": 5,
        "shot": shot,
        "query": 3,
        "seed": 0,
    }
    recipe = {"learner": {"spec": learner}, "evaluation": evaluation}
    scores = np.random.default_rng(shot).integers(0, 16, 100)[:episodes] / 15
    return Result(learner, recipe, scores, query_count=15, **more)  # type: ignore[arg-type]


def test_saved_and_loaded_scores_are_equal_to_the_last_bit(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    results = Results(
        [cell(), cell("ridge", seconds=1.5, environment={"torch": "2"}, provenance={"embedding": {"hits": 9}})]
    )
    results.save(path)
    loaded = Results.load(path)
    for before, after in zip(results.cells, loaded.cells, strict=True):
        np.testing.assert_array_equal(before.scores, after.scores)
        assert (before.key, before.environment, before.provenance) == (after.key, after.environment, after.provenance)
    varying = Result("v", cell().recipe, np.array([0.1, 1 / 3]), query_count=0)
    Results([varying]).save(path)
    np.testing.assert_array_equal(Results.load(path)["v"].scores, varying.scores)


def test_numbers_are_printed_in_percent() -> None:
    result = Result("a", cell().recipe, np.array([0.6, 0.8, 0.7, 0.7]), query_count=10)
    assert result.mean == pytest.approx(0.7)
    assert str(result) == "70.00 ± 19.43 (95 %, 4 episodes)"
    disjoint = Result("a", cell().recipe, np.full(1200, 0.5), query_count=10, interval="disjoint")
    assert str(disjoint) == "50.00 ± 0.01 (95 %, 1,200 disjoint episodes)"


def test_the_longest_run_of_a_recipe_is_kept(tmp_path: Path) -> None:
    a, b = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    Results([cell(episodes=4)]).save(a)
    Results([cell(episodes=9), cell("ridge")]).save(b)
    for merged in (Results.load(a, b), Results.load(b, a), Results.load(a) + Results.load(b)):
        assert {name: merged[name].episodes for name in merged} == {"proto": 9, "ridge": 4}


def test_which_cell_is_meant() -> None:
    results = Results([cell(), cell(shot=5), cell("ridge")])
    assert list(results) == ["proto", "ridge"]
    assert len(results) == 2
    with pytest.raises(KeyError, match=r"'proto' has 2 results \(toy 5-way 1-shot; toy 5-way 5-shot\)"):
        results["proto"]
    assert results.select(shot=5)["proto"].shot == 5
    assert len(results.select(dataset="other").cells) == 0
    assert [len(evaluation.cells) for evaluation in results.evaluations()] == [2, 1]
    with pytest.raises(KeyError, match="no result named 'logistic'; there are: proto, ridge"):
        results["logistic"]


def test_keys_follow_the_recipe_only() -> None:
    assert cell(episodes=3).key == cell(episodes=7, seconds=9.0).key
    assert cell().key != cell(shot=2).key
    assert cell().key != cell("other").key
    assert cell().evaluation_key == cell("other").evaluation_key


def test_a_data_frame() -> None:
    frame = Results([cell(), cell("ridge")]).to_pandas()
    assert list(frame["learner"]) == ["proto", "ridge"]
    assert frame.loc[0, "mean"] == pytest.approx(cell().mean)


def test_lines_that_are_not_results_are_named(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    Results([cell()]).save(path)
    good = path.read_text()
    for line, message in (
        ("hello", "line 2: not JSON"),
        ('{"schema": "other/9"}', "line 2: not a result of this library: schema is 'other/9'"),
        ("[1]", "line 2: not a result of this library"),
        (json.dumps({**json.loads(good), "key": "0" * 32, "checksum": None}), "of another recipe"),
    ):
        path.write_text(good + line + "\n")
        with pytest.raises(ValueError, match=message):
            Results.load(path)
