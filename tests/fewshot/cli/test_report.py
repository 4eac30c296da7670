"""``fewshot report``: a page, tables and plots from stored results."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from command_examples import FAST, run

from episodes import Result, Results
from fewshot.cli import main


def test_report(results: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    files = {kind: tmp_path / f"report.{kind}" for kind in ("html", "csv", "latex")}
    plot = tmp_path / "plot.png"
    main(["report", results, *(f"--{kind}={path}" for kind, path in files.items()), "--plot", str(plot)])
    assert "prototypes" in capsys.readouterr().out
    assert files["html"].read_text().startswith("<!doctype html>")
    assert len(files["csv"].read_text().splitlines()) == 7
    assert r"\toprule" in files["latex"].read_text()
    assert plot.read_bytes()[:4] == b"\x89PNG"


def test_report_has_a_title_and_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, page = str(tmp_path / "runs.jsonl"), tmp_path / "report.html"
    main(["evaluate", "--data", "scenes:size", "--encoder", "pixels(size=8)", "--learner", "prototypes", "--way", "2",
          "--shot", "1", "--episodes", "5", "--quiet", "--keep-predictions", "--out", out])  # fmt: skip
    assert main(["report", out, "--html", str(page), "--title", "Small & large", "--pictures", "scenes:size"]) == 0
    assert "<h1>Small &amp; large</h1>" in page.read_text() and "data:image/jpeg" in page.read_text()
    assert main(["report", out, "--pictures", "scenes:size"]) == 2
    assert "--pictures are shown on the page; say where: --html FILE" in capsys.readouterr().err
    assert main(["report", out, "--html", str(page), "--pictures", "digits:images"]) == 2
    assert "the pictures are of classes ['0', '1', '2']" in capsys.readouterr().err


def test_the_report_says_a_command_that_makes_the_same_results(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from episodes.report.recipes import command

    first, again = tmp_path / "first.jsonl", tmp_path / "again.jsonl"
    main(["evaluate", "--data", "scenes:size", "--encoder", "pixels(size=8)", "--learner", "l2 | ridge(alpha=0.1)", "--way",
          "2", "--shot", "3", "--episodes", "4", "--quiet", "--seed", "5", "--disjoint", "--out", str(first)])  # fmt: skip
    (cell,) = Results.load(first).cells
    words = shlex.split(command(cell))
    assert main([*words[1:], "--quiet", "--out", str(again)]) == 0
    (same,) = Results.load(again).cells
    assert same.key == cell.key and same.scores.tolist() == cell.scores.tolist()
    own = Result("mine", {"learner": {"identity": "x"}, "evaluation": cell.evaluation}, cell.scores)
    assert command(own) == ""


def test_answers_that_are_kept_are_in_the_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, page = str(tmp_path / "runs.jsonl"), tmp_path / "report.html"
    args = ["evaluate", *FAST, "--shot", "1", "--keep-predictions", "--out", out]
    run(capsys, *args, "--learner", "prototypes")
    run(capsys, *args, "--learner", "nearest", "--engine", "2", "--metric", "log-loss")
    main(["report", out, "--html", str(page)])
    assert "log-loss in nats (lower is better)" in capsys.readouterr().out
    assert page.read_text().count("hardest of 10 classes") == 2
    assert "--keep-predictions needs --out FILE" in run(capsys, "evaluate", "--keep-predictions", code=2)
