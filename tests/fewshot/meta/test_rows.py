"""What trainings read: rows, files, downloaded datasets."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from meta_training_examples import TRAIN
from PIL import Image
from stand_ins import write_cifar, write_omniglot

from episodes import ImageSource, TensorSource
from episodes.pictures import CentreCrop
from fewshot.cli import main
from fewshot.meta.rows import decoded, on_device


def test_rows_that_do_not_fit_stay_in_host_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    moved: list[torch.device] = []
    monkeypatch.setattr(TensorSource, "to", lambda source, device: moved.append(device) or source)
    size = TRAIN.features.nbytes
    for free, expected in ((2 * size - 2, 0), (2 * size, 1)):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, free=free: (free, 10 * size))
        on_device(TRAIN, torch.device("cuda"))
        assert len(moved) == expected


def mini_imagenet(home: Path, part: str, first: int) -> Path:
    """Three classes of tiny photographs, laid out as miniImageNet: a table beside one folder of all pictures."""
    (home / "images").mkdir(exist_ok=True)
    lines = ["filename,label"]
    for label in range(first, first + 3):
        for number in range(6):
            random = np.random.Generator(np.random.Philox(key=[label, number]))
            level = 40 * (label % 6) + random.integers(0, 30, (30, 36, 3))
            Image.fromarray(level.astype(np.uint8)).save(home / "images" / f"n{label:04}{number:04}.jpg")
            lines.append(f"n{label:04}{number:04}.jpg,n{label:04}")
    (home / f"{part}.csv").write_text("\n".join(lines) + "\n")
    return home / f"{part}.csv"


def test_mini_imagenet_trains_from_its_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train, held = mini_imagenet(tmp_path, "train", 0), mini_imagenet(tmp_path, "val", 3)
    out = tmp_path / "run"
    line = ["train", "--data", f"csv:{train}(size=16)", "--validation", f"csv:{held}(size=16)", "--root",
            str(tmp_path / "images"), "--learner", "resnet12(item_shape=(3, 16, 16), widths=(4, 4, 8, 8)) | metaoptnet",
            "--way", "3", "--shot", "1", "--query", "2", "--steps", "4", "--every", "2", "--quiet"]  # fmt: skip
    assert main([*line, "--out", str(out)]) == 0, capsys.readouterr().err
    assert [json.loads(text)["step"] for text in (out / "log.jsonl").read_text().splitlines()] == [2, 4]
    place = line.index("--steps")  # which cannot go with epochs
    line = [*line[:place], *line[place + 2 :]]
    assert main([*line, "--out", str(tmp_path / "plain"), "--epochs", "1", "--batch", "9"]) == 0


def test_downloaded_datasets_train_from_their_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_omniglot(tmp_path, ("val",), drawings=2)
    write_cifar(tmp_path, monkeypatch)
    common = ["--root", str(tmp_path), "--shot", "1", "--query", "1", "--way", "5", "--steps", "2", "--quiet"]
    for data, learner, validation in (
        ("omniglot:val", "conv4(channels=4) | prototypes", []),
        ("cifar-fs:train", "conv4(item_shape=(3, 32, 32), channels=4) | r2d2", ["--validation", "cifar-fs:val"]),
        ("fc100:train", "anil(net=\"conv4(channels=4, norm='task')\", item_shape=(3, 32, 32))", []),
    ):
        out = tmp_path / data.replace(":", "-")
        line = ["train", "--data", data, "--learner", learner, *validation, *common, "--out", str(out)]
        assert main(line) == 0, capsys.readouterr().err
        assert (out / "last.safetensors").exists() and (out / "best.safetensors").exists() == bool(validation)
    trained = "conv4(channels=4) | prototypes"
    command = [
        "evaluate",
        "--data",
        "omniglot:val",
        "--root",
        str(tmp_path),
        "--shot",
        "1",
        "--query",
        "1",
        "--episodes",
        "9",
    ]
    weights = ["--weights", str(tmp_path / "omniglot-val" / "last.safetensors")]
    assert main([*command, "--learner", trained, *weights]) == 0 and "9 episodes" in capsys.readouterr().out
    assert main([*command, "--learner", trained, "prototypes"]) == 0 and "prototypes" in capsys.readouterr().out
    for wrong, words in (([*command, "--learner", trained, "--encoder", "pixels"], "leave it out"),
                         (["evaluate", "--data", "digits", "--learner", trained], "learns from images")):  # fmt: skip
        assert main(wrong) == 2 and words in capsys.readouterr().err


def test_pictures_of_files_are_decoded_once_and_exactly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = ImageSource.from_csv(mini_imagenet(tmp_path, "train", 0), tmp_path / "images", size=16)
    rows = decoded(source)
    every = torch.arange(len(source))
    assert torch.equal(rows[every], source[every]) and torch.equal(rows.labels, source.labels)
    assert rows.class_names == source.class_names
    monkeypatch.setattr("fewshot.meta.rows._DECODED", 10)
    assert decoded(source) is source
    own = ImageSource.from_csv(tmp_path / "train.csv", tmp_path / "images", transform=CentreCrop(8).__call__)
    assert decoded(own) is own
