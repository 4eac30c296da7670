"""``fewshot evaluate``: tables for people, JSON for machines, errors that help."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from command_examples import FAST, run


def test_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    out = run(capsys, "evaluate", *FAST, "--learner", "prototypes", "l2 | ridge(alpha=0.1)", "--shot", "1", "5")
    lines = out.splitlines()
    assert "5-way 1-shot" in lines[0]
    assert lines[2].startswith("prototypes")
    assert "± is the 95 % interval over sampled episodes" in out


def test_json_and_comparison(capsys: pytest.CaptureFixture[str]) -> None:
    out = run(capsys, "evaluate", *FAST, "--shot", "1", "--json")
    cell = json.loads(out)
    assert (cell["learner"], cell["episodes"], cell["recipe"]["evaluation"]["shot"]) == ("l2 | logistic", 40, 1)
    assert "correct" not in cell
    out = run(capsys, "evaluate", *FAST, "--shot", "5", "--learner", "prototypes", "nearest", "--compare")
    assert "prototypes - nearest = " in out


@pytest.mark.parametrize("engine", [[], ["--engine", "in-process"]])
def test_no_examples_are_for_learners_that_know_words(
    engine: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    learners = ["--learner", "prototypes", "zero-shot", "--shot", "0", "1", "--out", str(tmp_path / "runs.jsonl")]
    scenes = ["--data", "scenes:shape(count=60)", "--encoder", "fewshot:tiny-clip", "--way", "3", "--query", "2"]
    out = run(capsys, "evaluate", *scenes, *learners, "--episodes", "5", "--quiet", *engine)
    assert re.search(r"prototypes +- +\d", out) and re.search(r"zero-shot +\d[\d.]+ ± [\d.]+ +\d", out), out


def test_disjoint_episodes(capsys: pytest.CaptureFixture[str]) -> None:
    out = run(capsys, "evaluate", *FAST, "--disjoint", "--shot", "5")
    assert "disjoint episodes: the sampling of the data is covered too" in out


def test_cells_on_two_processes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = run(
        capsys, "evaluate", *FAST, "--learner", "prototypes", "nearest", "--engine", "2", "--out", str(tmp_path / "r")
    )
    assert out == run(capsys, "evaluate", *FAST, "--learner", "prototypes", "nearest")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--way", "20"], "way=20, but 'digits' has 10 classes with at least shot + query = 16 rows; lower way"),
        (["--data", "digitz"], "unknown dataset 'digitz'; did you mean 'digits'?"),
        (["--learner", "prototipes"], "unknown learner 'prototipes'; did you mean 'prototypes'"),
        (["--learner", "ridge(alfa=1)"], "'ridge' has no argument 'alfa'; did you mean 'alpha'?"),
        (["--learner", "ridge(alpha=)"], "cannot read the spec"),
        (["--learner", "ridge(alpha=-1)"], "alpha"),
        (["--encoder", "timn:resnet18"], "did you mean 'timm"),
        (["--episodes", "0"], "episodes=0; it must be at least 1"),
        (["--seed", "-1"], "seed=-1"),
        (["--engine", "2"], "--engine needs --out"),
    ],
)
def test_wrong_use_is_explained(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    err = run(capsys, "evaluate", "--data", "digits", *arguments, code=2)
    assert err.startswith("fewshot: error: ")
    assert message in err


@pytest.mark.parametrize(
    "sampler", ["dirichlet(alpha=1.0)", "open-set(open_way=3)", "variable(least_way=3, most_way=6)", "disjoint"]
)
def test_samplers(capsys: pytest.CaptureFixture[str], sampler: str) -> None:
    args = ["evaluate", "--sampler", sampler, "--shot", "1", "--episodes", "20", "--json", "--quiet"]
    [cell] = [json.loads(line) for line in run(capsys, *args).splitlines()]
    assert cell["episodes"] == 20


def test_open_set_metrics(capsys: pytest.CaptureFixture[str]) -> None:
    args = ["evaluate", "--shot", "1", "--episodes", "20", "--quiet", "--metric", "auroc"]
    assert "l2 | logistic" in run(capsys, *args, "--sampler", "open-set")
    assert "draws none; take OpenSetSampler" in run(capsys, *args, code=2)
    assert "did you mean 'dirichlet'" in run(capsys, "evaluate", "--sampler", "dirichlett", "--quiet", code=2).lower()
    assert "sampler 'dirichlet' has no argument 'beta'; it takes: alpha, classes, episodes" in run(
        capsys, "evaluate", "--sampler", "dirichlet(beta=1)", "--quiet", code=2
    )


def test_base_data_reaches_the_learners(capsys: pytest.CaptureFixture[str]) -> None:
    line = ["evaluate", *FAST, "--learner", "cl2n | prototypes", "--shot", "1", "--json"]
    fitted, plain = json.loads(run(capsys, *line, "--base", "digits")), json.loads(run(capsys, *line))
    assert fitted["mean"] != plain["mean"]
    assert "leave it out" in run(capsys, "evaluate", *FAST, "--learner", "ridge", "--base", "digits", code=2)
