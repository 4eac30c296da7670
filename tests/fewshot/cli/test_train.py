"""``fewshot train``: what goes with what, and mishaps in one line each."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from training_examples import (
    checkpoint_of,
    flip,
)

from fewshot.cli import main


def train(out: Path, *more: str) -> int:
    learner = "mlp(item_shape=(64,), widths=(4,)) | prototypes"
    return main(["train", "--data", "digits", "--learner", learner, "--quiet", "--out", str(out), *more])


def test_epochs_take_the_seed_and_refuse_what_they_would_ignore(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in ("0", "1"):
        assert train(tmp_path / seed, "--epochs", "1", "--batch", "500", "--seed", seed, "--every", "2") == 0
    first, second = ((tmp_path / seed / "last.safetensors").read_bytes() for seed in ("0", "1"))
    assert first != second
    for given in ("--steps", "--accumulate", "--way", "--shot", "--query"):
        assert train(tmp_path / "x", "--epochs", "1", given, "2") == 2
        assert f"{given} cannot go with --epochs" in capsys.readouterr().err
    assert [json.loads(line)["step"] for line in (tmp_path / "0" / "log.jsonl").read_text().splitlines()] == [2, 3]
    assert not (tmp_path / "x").exists()


def test_mishaps_of_a_training_are_one_line_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    short = ("--steps", "2", "--query", "2")
    assert train(tmp_path / "a", *short, "--lr", "1e30", "--optimizer", "sgd") == 1
    assert capsys.readouterr().err.startswith("fewshot: error: the loss is nan at step 1; lower lr=")
    (tmp_path / "torn.safetensors").write_bytes(b"x" * 100)
    assert train(tmp_path / "b", *short, "--weights", str(tmp_path / "torn.safetensors")) == 2
    assert "is damaged or cut short" in capsys.readouterr().err
    assert train(tmp_path / "c", *short) == 0
    flip(checkpoint_of(tmp_path / "c"), 300)
    assert train(tmp_path / "c", *short) == 2 and "is damaged or cut short" in capsys.readouterr().err
    assert train(tmp_path / "d", *short, "--patience", "2") == 2 and "needs validation" in capsys.readouterr().err


def test_weights_to_begin_with_are_part_of_a_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    short = ("--steps", "2", "--query", "2")
    for name, lr in (("a", "0.1"), ("b", "0.2")):
        assert train(tmp_path / name, *short, "--lr", lr) == 0
    begin = [("--weights", str(tmp_path / name / "last.safetensors")) for name in "ab"]
    assert train(tmp_path / "c", *short, *begin[0]) == 0
    assert train(tmp_path / "c", *short, *begin[0]) == 0
    assert train(tmp_path / "c", *short, *begin[1]) == 2
    assert "began with other weights" in capsys.readouterr().err


def test_a_folder_without_classes_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from PIL import Image

    (tmp_path / "one").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "one" / "a.png")
    assert main(["train", "--data", f"folder:{tmp_path}", "--out", str(tmp_path / "run"), "--quiet"]) == 2
    assert "has one class to learn from" in capsys.readouterr().err
    assert not (tmp_path / "run").exists() and os.listdir(tmp_path / "one") == ["a.png"]
