"""``fewshot train --task ...`` and ``--unlabelled ...``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from picture_examples import save

from episodes import TensorSource
from fewshot import fit_pca, load_encoder, load_tasks, pretrain_unlabelled, train_tasks
from fewshot.cli import main
from fewshot.transfer.tuned_folder import save_with_encoder

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


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_an_encoder_is_not_overwritten_by_what_refers_to_it(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = ["--epochs", "1", "--batch", "6"]
    unlabelled = ["train", "--unlabelled", "arrays:one.npz"]
    assert main([*unlabelled, "--method", "simsiam(8)", "--encoder", NET, *few, "--out", "learned"]) == 0
    assert main([*unlabelled, "--method", "pca(3)", "--encoder", "pixels", "--out", "parts"]) == 0
    before = {name: contents(data / name) for name in ("learned", "parts")}
    own = "holds the encoder that training begins with"
    for arguments, message in (
        ([*unlabelled, "--method", "simsiam(8)", "--encoder", "learned/", *few, "--out", "learned"], own),
        ([*unlabelled, "--method", "pca(2)", "--encoder", "parts", "--out", "./parts"], own),
        ([*unlabelled, "--method", "pca(2)", "--encoder", "pixels", "--out", "learned"], "holds a tuned encoder"),
        (["train", *TASKS, "--encoder", "tuned:learned", *few, "--out", "learned"], own),
        (["finetune", "arrays:one.npz", "--encoder", "learned", "--out", "learned"], own),
    ):
        assert main(arguments) == 2
        assert message in capsys.readouterr().err
    assert before == {name: contents(data / name) for name in ("learned", "parts")}
    for encoder, method in (("learned", "pca(2)"), ("parts", "pca(2)")):
        out = f"{encoder} again"
        assert main([*unlabelled, "--method", method, "--encoder", encoder, "--out", out]) == 0
        assert load_encoder(out).dim == 2


def test_neither_in_python(data: Path) -> None:
    rows = np.load("one.npz")["X"]
    learned = pretrain_unlabelled(NET, rows, "simsiam(8)", epochs=1, batch=6, progress=False)
    save_with_encoder(learned, NET, "learned")
    before = contents(data / "learned")
    further = pretrain_unlabelled("learned", rows, "simsiam(8)", epochs=1, batch=6, progress=False)
    with pytest.raises(ValueError, match="take another folder"):
        save_with_encoder(further, "learned", data / "learned")
    with pytest.raises(ValueError, match="take another folder"):
        fit_pca("learned", rows, 2, cache=False, progress=False).save("learned")
    parts = fit_pca("pixels", rows, 3, cache=False, progress=False).save("parts")
    with pytest.raises(ValueError, match="take another folder"):
        fit_pca(str(parts), rows, 2, cache=False, progress=False).save("parts")
    assert contents(data / "learned") == before and load_encoder("parts").dim == 3
    assert main(["train", *TASKS, "--encoder", NET, "--epochs", "1", "--quiet", "--out", "shared"]) == 0
    tasks = train_tasks("shared", {"a": TensorSource(rows, torch.arange(12) % 2), "b": TensorSource(rows, torch.arange(12) % 3)},
                        epochs=1, progress=False)  # fmt: skip
    with pytest.raises(ValueError, match="take another folder"):
        tasks.save("shared")
    assert load_tasks("shared").tasks
