"""``fewshot train --task ...`` and ``--unlabelled ...``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from picture_examples import save

from fewshot import load_encoder, load_tasks
from fewshot.cli import main

NET = "net:conv4(item_shape=(1, 12, 12), channels=4)"


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    random = np.random.default_rng(0)
    for name, classes in (("one", 2), ("two", 3)):
        labels = np.arange(12) % classes
        np.savez(tmp_path / f"{name}.npz", X=random.random((12, 1, 12, 12), dtype=np.float32), y=labels)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FEWSHOT_CACHE", str(tmp_path / "cache"))
    return tmp_path


def test_several_tasks(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [
        "train", "--task", "first=arrays:one.npz", "--task", "second=arrays:two.npz", "--encoder", NET, "--strategy",
        "scratch", "--sampling", "proportional", "--weighting", "pcgrad", "--epochs", "2", "--batch", "8",
        "--validation", "second=arrays:two.npz", "--out", "shared",
    ]  # fmt: skip
    assert main(command) == 0
    shown = capsys.readouterr()
    assert "step      6" in shown.out and "validation" in shown.out and "rows/s" in shown.out
    assert "--encoder shared" in shown.err
    found = load_tasks("shared")
    assert {name: len(classes) for name, classes in found.class_names.items()} == {"first": 2, "second": 3}
    assert load_encoder("shared").fingerprint == found.encoder.fingerprint != load_encoder(NET).fingerprint
    assert main([*command, "--quiet"]) == 0  # complete: nothing is trained again
    again = load_tasks("shared")
    assert torch.equal(again.encoder.head.weight, found.encoder.head.weight)
    assert main(["embed", "--data", "arrays:one.npz", "--encoder", "shared", "--quiet"]) == 0


@pytest.mark.parametrize("method", ["simsiam(8)", "pca(3)"])
def test_unlabelled(data: Path, method: str, capsys: pytest.CaptureFixture[str]) -> None:
    more = [] if "pca" in method else ["--epochs", "2", "--batch", "6", "--augment", "crop(0.5)"]
    encoder = "pixels" if "pca" in method else NET
    command = ["train", "--unlabelled", "arrays:one.npz", "--method", method, "--encoder", encoder, "--out", "learned"]
    assert main([*command, *more]) == 0
    assert "--encoder learned" in capsys.readouterr().err
    assert load_encoder("learned").fingerprint != load_encoder(encoder).fingerprint
    assert load_encoder("learned").dim == (3 if "pca" in method else 4)


@pytest.mark.parametrize("method", ["simsiam(8)", "pca(3)"])
def test_unlabelled_pictures_lie_as_they_like(data: Path, method: str) -> None:
    for number in range(8):
        place = data / "pictures" / ("" if number % 2 else "more") / f"{number}.png"
        save(place)
    encoder = ["--encoder", "pixels(size=12)"]
    if "pca" not in method:
        encoder = ["--encoder", "net:conv4(item_shape=(3, 84, 84), channels=4)", "--epochs", "1", "--batch", "4"]
    assert main(["train", "--unlabelled", "folder:pictures/", "--method", method, *encoder, "--out", "learned"]) == 0
    assert load_encoder("learned").dim


TASKS = ["--task", "a=arrays:one.npz", "--task", "b=arrays:two.npz"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--data SPEC; --task NAME=SPEC"),
        (TASKS[:2], "give --encoder"),
        ([*TASKS[:2], "--encoder", NET], "at least two"),
        ([*TASKS[:2], *TASKS[:2], "--encoder", NET], "two tasks are called 'a'"),
        ([*TASKS, "--encoder", NET, "--data", "digits", "--steps", "5"], "--data, --steps cannot go with --task"),
        (["--task", "arrays:one.npz", *TASKS, "--encoder", NET], "NAME=DATA"),
        (["--unlabelled", "arrays:one.npz", "--encoder", NET, "--weighting", "pcgrad"], "cannot go with --unlabelled"),
        (["--unlabelled", "arrays:one.npz", "--encoder", "pixels", "--method", "pca(3)", "--epochs", "2"], "at once"),
        (["--unlabelled", "arrays:one.npz", "--encoder", "pixels", "--method", "pca(3, 4)"], "write pca"),
        (["--data", "digits", "--validation", "digits", "--validation", "digits"], "given 2 times"),
    ],
)
def test_what_does_not_go_together_is_refused(
    data: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *arguments, "--out", "out"]) == 2
    assert message in capsys.readouterr().err
