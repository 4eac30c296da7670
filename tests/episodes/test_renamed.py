"""Names of version 0.1: attributes under them still work, and files with them are read, resumed and compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from episodes import Episode, EpisodeSampler, Result, Results, TensorSource, compare, evaluate
from episodes.result_fields import line_checksum

SOURCE = TensorSource(np.random.default_rng(0).normal(size=(60, 4)), np.arange(60) % 4, name="toy")
SAMPLER = EpisodeSampler(SOURCE.labels, 3, 1, 5)


def nearest(episode: Episode) -> torch.Tensor:
    return -torch.cdist(episode.query, episode.support)


def as_of_version_0_1(line: str) -> dict[str, Any]:
    """A line of today as it was written before: the evaluation was the exam, and the checksum covers that."""
    data = json.loads(line)
    data["recipe"] = {"learner": data["recipe"]["learner"], "exam": data["recipe"]["evaluation"]}
    return {**data, "checksum": line_checksum({k: v for k, v in data.items() if k != "checksum"})}


def test_lines_are_written_under_new_names_and_read_under_both(tmp_path: Path) -> None:
    new, old = tmp_path / "new.jsonl", tmp_path / "old.jsonl"
    evaluate({"a": nearest}, SOURCE, SAMPLER, episodes=8, out=new, progress=False)
    line = new.read_text()
    assert '"exam"' not in line and json.loads(line)["recipe"]["evaluation"]["way"] == 3
    old.write_text(json.dumps(as_of_version_0_1(line)) + "\n")
    before, after = Results.load(old)["a"], Results.load(new)["a"]
    assert before.recipe == after.recipe and before.key == after.key == json.loads(line)["key"]
    assert before.evaluation_key == after.evaluation_key
    assert len(Results.load(old, new).cells) == 1  # one recipe
    assert json.loads(json.dumps(before.to_json())) == json.loads(line)


def test_a_file_of_before_is_resumed_and_compared_with(tmp_path: Path) -> None:
    out = tmp_path / "r.jsonl"
    first = evaluate({"a": nearest}, SOURCE, SAMPLER, episodes=8, out=out, keep_predictions=True, progress=False)["a"]
    out.write_text(json.dumps(as_of_version_0_1(out.read_text())) + "\n")
    drawn: list[int] = []

    class Counted(EpisodeSampler):
        def draw(self, first: int, count: int) -> Any:
            drawn.append(first)
            return super().draw(first, count)

    again = Counted(SOURCE.labels, 3, 1, 5)
    found = evaluate({"a": nearest}, SOURCE, again, episodes=8, out=out, keep_predictions=True, progress=False)["a"]
    assert not drawn and len(out.read_text().splitlines()) == 1
    np.testing.assert_array_equal(found.scores, first.scores)
    assert found.predictions.accuracy == first.predictions.accuracy  # their file is named by the key
    other = evaluate({"b": lambda episode: -nearest(episode)}, SOURCE, SAMPLER, episodes=8, progress=False)["b"]
    assert compare(Results.load(out)["a"], other).episodes == 8


def test_a_recipe_with_both_names_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    evaluate({"a": nearest}, SOURCE, SAMPLER, episodes=4, out=path, progress=False)
    data = json.loads(path.read_text())
    data["recipe"]["exam"] = data["recipe"]["evaluation"]
    del data["checksum"]
    path.write_text(json.dumps(data) + "\n")
    with pytest.raises(ValueError, match=r"line 1: the recipe has both 'evaluation' and 'exam'"):
        Results.load(path)


def test_attributes_under_old_names_warn() -> None:
    evaluation = {"dataset": {"name": "toy"}, "way": 5, "shot": 1}
    cell = Result("a", {"learner": {}, "exam": evaluation}, np.array([0.5, 1.0]), query_count=2)
    assert cell.recipe == {"learner": {}, "evaluation": evaluation}
    with pytest.deprecated_call(match=r"\.exam is now called \.evaluation\."):
        assert cell.exam == evaluation
    with pytest.deprecated_call(match="evaluation_key"):
        assert cell.exam_key == cell.evaluation_key
    with pytest.deprecated_call(match="evaluations"):
        assert Results([cell]).exams()[0].cells == [cell]
    with pytest.deprecated_call(match="evaluation"):
        assert compare(cell, cell).exam == "toy 5-way 1-shot"


def test_functions_under_old_names_warn() -> None:
    import episodes.result as module

    with pytest.deprecated_call(match="episodes.result.group_by_exam is now called group_by_evaluation"):
        assert module.group_by_exam is module.group_by_evaluation
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        module.nothing  # noqa: B018
