"""A results file: earlier versions, single lines, names, and fields that are checked."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from result_examples import GOOD, cell, changed

from episodes import EpisodeSampler, Result, Results, TensorSource, compare_all, evaluate
from episodes.report import to_csv, to_html, to_latex, to_text
from episodes.results_file import ResultsFile, line_of

OLD = Path(__file__).parent / "files" / "results-0.1.jsonl"


def test_files_of_version_0_1_open_everywhere() -> None:
    results = Results.load(OLD)
    assert len(results.cells) == 13
    assert {cell.metric.name for cell in results.cells} == {"accuracy", "auroc", "fpr95"}
    assert results.select(shot=5, metric="accuracy")["prototypes"].mean == pytest.approx(0.594444, abs=1e-6)
    text, page = to_text(results), to_html(results)
    assert text.count("lower is better") == 1
    assert "fpr95 in % (lower is better)" in page
    assert "40.56 ± " in text and "40.56 ± " in page
    assert len(compare_all(results)) == 8
    assert to_csv(results).count("\n") == 14
    assert r"\begin{tabular}" in to_latex(results)


def test_side_files_of_version_0_1_are_resumed(tmp_path: Path) -> None:
    file = ResultsFile(tmp_path / "r.jsonl")
    side = tmp_path / ".r.jsonl.abc.partial"
    side.write_text(json.dumps({"schema": "fewshot-results/1", "query_count": 15, "scores": [0.2, 0.4]}))
    scores, count = file.progress("abc")
    assert (scores.tolist(), count) == ([0.2, 0.4], 15)


@pytest.mark.parametrize(
    ("damage", "left"),
    [
        pytest.param(lambda a, b, c: a[:50] + b"\n" + b + c, {"bbb", "cccc"}, id="first line cut at its end"),
        pytest.param(lambda a, b, c: a[-60:] + b + c, {"bbb", "cccc"}, id="first line cut at its beginning"),
        pytest.param(lambda a, b, c: a + b + c[:-40], {"aa", "bbb"}, id="last line cut"),
        pytest.param(lambda a, b, c: a + b[:40] + b"\xff" + b[41:] + c, {"aa", "cccc"}, id="invalid byte"),
        pytest.param(lambda a, b, c: a + b + c[:60] + "é".encode()[:1], {"aa", "bbb"}, id="cut in a character"),
        pytest.param(lambda a, b, c: a + b[:30] + b"\0" * 99 + b"\n" + c, {"aa", "cccc"}, id="a block of zeros"),
        pytest.param(lambda a, b, c: a + b"\n\n" + b + c, {"aa", "bbb", "cccc"}, id="empty lines"),
    ],
)
def test_a_damaged_line_costs_that_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: Any, left: set
) -> None:  # type: ignore[type-arg]
    path = tmp_path / "r.jsonl"
    path.write_bytes(damage(*GOOD))
    assert set(Results.load(path)) == left
    if len(left) < 3:
        assert f"{path}, line " in caplog.text
    ResultsFile(path).append(cell("new one"))
    assert set(Results.load(path)) == {*left, "new one"}


@pytest.mark.parametrize("odd", ["\u2028", "\u0085", "\x0b", "\x1c", "\ud83d\ude00", "ü"])
def test_no_character_of_a_name_breaks_a_line(tmp_path: Path, odd: str) -> None:
    name = f"a{odd}b".encode("utf-16", "surrogatepass").decode("utf-16")
    path = tmp_path / "r.jsonl"
    Results([cell(name), cell("b")]).save(path)
    assert set(Results.load(path)) == {name, "b"}
    raw = json.dumps({k: v for k, v in cell(name).to_json().items() if k != "checksum"}, ensure_ascii=False)
    path.write_text(raw + "\n", encoding="utf-8")  # as version 0.1 wrote it
    assert set(Results.load(path)) == {name}


def test_names_that_are_not_utf8_can_be_stored(tmp_path: Path) -> None:
    folder = os.fsdecode(b"caf\xe9")
    source = TensorSource(np.random.default_rng(0).normal(size=(40, 4)), np.arange(40) % 4, name=folder)
    out = tmp_path / "r.jsonl"
    for _ in range(2):
        evaluate({folder: "prototypes"}, source, EpisodeSampler(source.labels, 2, 1, 2), episodes=4, out=out)
    (found,) = Results.load(out).cells
    assert found.learner == found.dataset == r"caf\udce9"
    assert len(out.read_text().splitlines()) == 1


def test_a_line_that_is_just_being_written_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    for size in (1, 5, 30, len(GOOD[0]) - 1):
        path.write_bytes(GOOD[0][:size])
        assert len(Results.load(path)) == (1 if size == len(GOOD[0]) - 1 else 0)


def test_a_file_of_something_else_is_not_written_to(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    for content in (b"\x89PNG\r\n\x1a\n\xff\xfe\xfa\n\xfb\xfc\n", b"\xff"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="not a results file"):
            ResultsFile(path)
        assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"correct": [99, 1, 2, 3, 4, 5]}, "entry 0 of the field 'correct' is 99; it must be 0 to 15"),
        ({"correct": [-1, 1, 2, 3, 4, 5]}, "entry 0 of the field 'correct' is -1"),
        ({"correct": [1, 2]}, "the field 'correct' has 2 entries for 6 episodes"),
        ({"correct": [1, 2, 3, 4, 5, 1.5]}, "is a number"),
        ({"correct": [1, 2, 3, 4, 5, True]}, "is true or false"),
        ({"correct": [1, 2, 3, 4, 5, 6]}, "the field 'mean' is .*, but the scores have the mean 0.233333"),
        (
            {"query_count": 0, "scores": [0.5, 1.5, 0, 0, 0, 0]},
            "entry 1 of the field 'scores' is 1.5; it must be 0 to 1",
        ),
        ({"query_count": -5}, "the field 'query_count' is -5"),
        ({"query_count": 10**30}, "the field 'query_count'"),
        ({"episodes": 0}, "the field 'episodes' is 0"),
        ({"interval": "wide"}, "the field 'interval' is 'wide'; it must be one of"),
        ({"recipe": {"evaluation": {}}}, "the field 'learner' is missing"),
        ({"recipe": {"learner": {}, "evaluation": {"dataset": "toy"}}}, "the field 'dataset' is a string"),
        ({"learner": None}, "the field 'learner' is null"),
        ({"seconds": "fast"}, "the field 'seconds' is a string"),
        ({"seconds": -1}, "the field 'seconds' is -1"),
        ({"environment": []}, "the field 'environment' is a list"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, fields: dict[str, Any], message: str) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text(line_of(cell("first")) + json.dumps(changed(**fields)) + "\n")
    with pytest.raises(ValueError, match=rf"r.jsonl, line 2\b.*{message}"):
        Results.load(path)


def test_a_changed_line_costs_that_line_unless_it_is_meant(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text(line_of(cell("first")) + line_of(cell()).replace('"learner": "proto"', '"learner": "other"'))
    assert set(Results.load(path)) == {"first"}
    assert "r.jsonl, line 2 is damaged or was edited" in caplog.text
    assert "remove its field 'checksum'" in caplog.text
    path.write_text(json.dumps(changed(learner="other")) + "\n")
    assert set(Results.load(path)) == {"other"}


def test_metrics_of_ones_own_are_checked_too(tmp_path: Path) -> None:
    metric = {
        "name": "mine", "identity": "0", "higher_is_better": False, "unit": "s", "digits": 1, "bounds": [0, None],
        "open_set": False,
    }  # fmt: skip
    path = tmp_path / "r.jsonl"
    path.write_text(line_of(cell(metric=metric, count=0)))
    assert Results.load(path)["proto"].metric.heading == "mine in s (lower is better)"
    for name, value in (
        ("digits", 10**9),
        ("bounds", [3]),
        ("bounds", [2, 1]),
        ("name", 5),
        ("higher_is_better", KeyError),
    ):
        bad = {k: v for k, v in {**metric, name: value}.items() if v is not KeyError}
        data = cell().to_json()
        recipe = {**data["recipe"], "evaluation": {**data["recipe"]["evaluation"], "metric": bad}}
        path.write_text(json.dumps(changed(recipe=recipe, key=Result("x", recipe, np.zeros(1)).key)) + "\n")
        with pytest.raises(ValueError, match=rf"line 1: .*{name}|'mine'.*{name}"):
            Results.load(path)
