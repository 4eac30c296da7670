"""A suite runs cell by cell, passes over what fails, and ends with the same tables however often it was stopped."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fewshot.suites.group_rows as group_rows
from episodes import EpisodeSampler, Results, evaluate, load_dataset
from fewshot.cli import main
from fewshot.suites import load_suite, run_suite

SUITE = """
title = "Toys"
learners = ["prototypes", "l2 | ridge(alpha=0.1)"]
shots = [1, 3]
ways = [3, "all"]
query = 5
episodes = 30

[[datasets]]
data = "arrays:{root}/bank.npz"
name = "bank"

[[datasets]]
data = "scenes:shape(count=300, pixels=16)"
name = "scenes"
encoders = ["pixels"]
seeds = [0, 1]
ways = [3]

[[published]]
dataset = "bank"
method = "theirs"
way = 3
shot = 1
score = 71.5
half = 0.4
source = "Somebody, 2020"
"""


@pytest.fixture
def toys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    random = np.random.default_rng(0)
    labels = np.arange(4).repeat(20)
    np.savez(tmp_path / "bank.npz", X=random.normal(size=(4, 6))[labels] + random.normal(size=(80, 6)), y=labels)
    (tmp_path / "toys.toml").write_text(SUITE)
    monkeypatch.setenv("FEWSHOT_CACHE", str(tmp_path / "cache"))
    return tmp_path


def tables(folder: Path) -> list[bytes]:
    return [(folder / name).read_bytes() for name in ("table.md", "table.csv", "failures.json")]


def test_cells_are_those_of_evaluate(toys: Path) -> None:
    finished = run_suite(toys / "toys.toml", toys / "out", root=toys, progress=False)
    assert not finished.failures
    assert len(finished.cells) == 2 * 2 * 2 + 2 * 2 * 2  # learners x ways x shots; learners x shots x seeds
    source = load_dataset(f"arrays:{toys}/bank.npz")
    expected = evaluate("prototypes", source, EpisodeSampler(source.labels, 4, 3, 5), episodes=30)["prototypes"]
    found = finished.results.select(dataset="bank", way=4, shot=3)["prototypes"]
    np.testing.assert_array_equal(found.scores, expected.scores)
    assert {cell.key for cell in Results.load(toys / "out" / "results.jsonl").cells} == {
        cell.key for cell in finished.results.cells
    }
    seeds = [
        cell for name, cell in finished.cells.items()
        if (name.dataset, name.shot, name.learner) == ("scenes", 1, "prototypes")
    ]  # fmt: skip
    row = next(row for row in finished.rows() if row["dataset"] == "scenes" and row["shot"] == "1")
    assert len(seeds) == 2
    assert row["score"] == pytest.approx(50 * (seeds[0].mean + seeds[1].mean))
    assert row["half"] == pytest.approx(50 * np.hypot(seeds[0].ci95, seeds[1].ci95))
    page = finished.to_markdown()
    assert "| theirs | 71.50 ± 0.40 |" in page
    assert "l2 \\| ridge" in page
    assert "all-way 3-shot" in page


def test_each_encoder_runs_once_and_nothing_twice(toys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    embedded: list[str] = []
    embed = group_rows.embed

    def counting(source: Any, *arguments: Any, **options: Any) -> Any:
        embedded.append(source.name)
        return embed(source, *arguments, **options)

    monkeypatch.setattr(group_rows, "embed", counting)
    run_suite(toys / "toys.toml", toys / "out", root=toys, progress=False)
    assert embedded == ["scenes:shape"]
    before, lines = tables(toys / "out"), (toys / "out" / "results.jsonl").read_bytes()
    run_suite(toys / "toys.toml", toys / "out", root=toys, progress=False)
    assert tables(toys / "out") == before
    assert (toys / "out" / "results.jsonl").read_bytes() == lines


def test_failures_are_recorded_and_passed_over(toys: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = SUITE.replace('"prototypes", ', '"prototypes", "zero-shot", "no-such", ').replace("[1, 3]", "[1, 18]")
    (toys / "toys.toml").write_text(text + '\n[[datasets]]\ndata = "arrays:{root}/gone.npz"\n')
    assert main(["benchmark", str(toys / "toys.toml"), "--out", str(toys / "out"), "--root", str(toys)]) == 1
    failed = json.loads((toys / "out" / "failures.json").read_text())
    said = {(entry["cell"]["dataset"], entry["cell"]["learner"]): entry["error"] for entry in failed}
    assert "unknown learner 'no-such'" in said["bank", "no-such"]
    assert "shot + query = 23 rows" in said["bank", ""]
    held = {(name.dataset, name.shot) for name in Results.load(toys / "out" / "results.jsonl").cells}
    assert held == {("bank", 1), ("scenes:shape @ pixels", 1), ("scenes:shape @ pixels", 18)}
    assert "text" in said["scenes", "zero-shot"]
    assert "FileNotFoundError" in said["arrays:{root}/gone.npz", ""]
    out = capsys.readouterr().out
    assert "| prototypes | pixels |" in out
    assert "Failed:" in out and "gone.npz" in out


def test_class_text_and_base_data(toys: Path) -> None:
    (toys / "text.toml").write_text("""
        learners = ["zero-shot", "cl2n | prototypes"]
        encoders = ["fewshot:tiny-clip"]
        ways = "all"
        shots = 1
        query = 2
        episodes = 4
        task = "drawings of one object"
        [[datasets]]
        data = "scenes:size(count=40)"
        base = "scenes:colour(count=40, seed=1)"
    """)
    finished = run_suite(toys / "text.toml", toys / "out", progress=False)
    assert not finished.failures
    assert {name.learner for name in finished.cells} == {"zero-shot", "cl2n | prototypes"}


def test_only_some(toys: Path) -> None:
    finished = run_suite(toys / "toys.toml", toys / "out", only=["scenes"], progress=False)
    assert {name.dataset for name in finished.cells} == {"scenes"}
    assert "theirs" not in finished.to_markdown()  # published for the other dataset
    with pytest.raises(ValueError, match="'scene' is no dataset of 'toys'; there are: bank, scenes"):
        run_suite(load_suite(toys / "toys.toml"), toys / "out", only=["scene"])


def test_killed_twice_and_resumed(toys: Path) -> None:
    text = SUITE.replace("episodes = 30", "episodes = 3000")
    (toys / "toys.toml").write_text(text)
    script = "import sys; from fewshot.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", script, "benchmark", str(toys / "toys.toml"), "--root", str(toys), "--quiet"]
    lines = toys / "killed" / "results.jsonl"
    for least in (2, 5):
        process = subprocess.Popen([*command, "--out", str(toys / "killed")], stdout=subprocess.DEVNULL, env=os.environ)
        until = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < until:
            if lines.exists() and lines.read_bytes().count(b"\n") >= least:
                break
            time.sleep(0.005)
        process.kill()
        process.wait()
        assert lines.read_bytes().count(b"\n") >= least
    assert lines.read_bytes().count(b"\n") < 16
    run_suite(toys / "toys.toml", toys / "killed", root=toys, progress=False)
    run_suite(toys / "toys.toml", toys / "whole", root=toys, progress=False)
    assert tables(toys / "killed") == tables(toys / "whole")
