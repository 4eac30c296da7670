"""`fewshot fit` and `fewshot predict`, as one who has photos or texts uses them."""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from episodes import load_dataset
from fewshot.cli import main

SCENES = load_dataset("scenes:shape", count=120, seed=3)
NAMES = ("circle", "heart", "star")


def pictures() -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for rows, label in zip(SCENES.features.permute(0, 2, 3, 1).numpy(), SCENES.labels.tolist(), strict=True):
        found.setdefault(SCENES.class_names[label], []).append(Image.fromarray(rows))
    return found


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three classes of four photos, and a folder of three new ones."""
    found = pictures()
    for name in NAMES:
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number, picture in enumerate(found[name][:4]):
            picture.save(tmp_path / "photos" / name / f"{number}.png")
        (tmp_path / "new").mkdir(exist_ok=True)
        found[name][4].save(tmp_path / "new" / f"{name}.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def fit(*more: str) -> int:
    return main(["fit", "photos", "--encoder", "fewshot:tiny-clip", "--out", "model", *more])


def table(path: str) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_whole_road(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fit() == 0
    out = capsys.readouterr()
    assert "held out: 100.0 % of 12 right (95 % interval 75.8 to 100.0)" in out.out
    assert "12 pictures, 3 classes of 4" in out.err
    assert fit("--out", "a model") == 0 and "fewshot predict 'a model' NEW/" in capsys.readouterr().err
    assert "100.0 % of 12 held-out examples" in (photos / "model" / "README.md").read_text()
    shutil.move("model", "elsewhere")  # and what it was fitted on is gone
    shutil.rmtree("photos")
    assert main(["predict", "elsewhere", "new", "--csv", "answers.csv"]) == 0
    rows = table("answers.csv")
    assert [row["item"] for row in rows] == ["circle.png", "heart.png", "star.png"]
    assert [row["label"] for row in rows] == list(NAMES)
    assert all("/" in row["nearest"] and 0.33 < float(row["probability"]) <= 1 for row in rows)
    assert main(["predict", "elsewhere", "new", "--quiet"]) == 0  # and to the terminal
    assert capsys.readouterr().out.splitlines() == (photos / "answers.csv").read_text().splitlines()


def test_an_interrupted_table_is_resumed_and_no_other_one(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit()
    main(["predict", "model", "new", "--csv", "answers.csv"])
    whole = (photos / "answers.csv").read_bytes()
    (photos / "answers.csv").write_bytes(whole[:-20])  # killed in the middle of the last line
    capsys.readouterr()
    assert main(["predict", "model", "new", "--csv", "answers.csv"]) == 0
    assert "1 classified, 2 were there" in capsys.readouterr().err
    assert (photos / "answers.csv").read_bytes() == whole
    fit("--learner", "prototypes")
    assert main(["predict", "model", "new", "--csv", "answers.csv"]) == 2
    assert "not known to be of this classifier" in capsys.readouterr().err
    assert main(["predict", "model", "new", "--csv", "answers.csv", "--overwrite"]) == 0
    Image.new("RGB", (64, 64)).save("new/a.png")
    assert main(["predict", "model", "new", "--csv", "answers.csv"]) == 2
    assert "files were added or removed" in capsys.readouterr().err


def swap(one: Path, other: Path) -> None:
    """Two files change names: times and sizes stay with them."""
    one.rename("held")
    other.rename(one)
    Path("held").rename(other)


def edit_in_place(picture: Path, _: Path) -> None:
    """One byte, and the time of the file is as before."""
    times = picture.stat()
    content = bytearray(picture.read_bytes())
    content[-5] ^= 255
    picture.write_bytes(content)
    os.utime(picture, ns=(times.st_atime_ns, times.st_mtime_ns))


@pytest.mark.parametrize("change", [shutil.copyfile, swap, edit_in_place])
def test_a_picture_that_changed_is_not_answered_from_the_table(
    photos: Path, capsys: pytest.CaptureFixture[str], change: Callable[[Path, Path], Any]
) -> None:
    fit()
    line = ["predict", "model", "new", "--csv", "answers.csv"]
    main(line)
    os.utime("new/circle.png")
    assert main(line) == 0, "only its time is another"
    change(Path("new/circle.png"), Path("new/star.png"))
    capsys.readouterr()
    assert main(line) == 2
    assert ".png' holds something else than when" in capsys.readouterr().err
    assert main([*line, "--overwrite"]) == 0


def test_answers_without_what_they_are_about_are_not_resumed(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit()
    line = ["predict", "model", "new", "--csv", "answers.csv"]
    main(line)
    whole, keys = Path("answers.csv").read_bytes(), Path(".answers.csv.keys").read_bytes()
    rows = whole.splitlines(keepends=True)
    Path("answers.csv").write_bytes(b"".join(rows[:-1]))  # killed between the two files
    assert main(line) == 0
    assert (Path("answers.csv").read_bytes(), Path(".answers.csv.keys").read_bytes()) == (whole, keys)
    Path(".answers.csv.keys").write_bytes(keys[:-3])
    capsys.readouterr()
    assert main(line) == 2
    Path(".answers.csv.keys").unlink()
    assert main(line) == 2
    assert "does not say what its answers are about" in capsys.readouterr().err


@pytest.mark.parametrize("more", [[], ["--strategy", "last(1, epochs=1)"]])
def test_damaged_examples_are_left_out_if_asked_for(
    photos: Path, capsys: pytest.CaptureFixture[str], more: list[str]
) -> None:
    fit(*more)
    whole = (photos / "model" / "model.safetensors").read_bytes()
    (photos / "photos" / "star" / "broken.png").write_bytes(b"no picture")
    (photos / "photos" / "heart" / "empty.png").touch()
    capsys.readouterr()
    line = ["fit", "photos", "--encoder", "fewshot:tiny-clip", "--out", "model", *more]
    assert main(line) == 2
    said = capsys.readouterr().err
    assert "broken.png" in said or "empty.png" in said
    assert "--skip-damaged leaves out what is damaged" in said and "of X" not in said
    assert main([*line, "--skip-damaged"]) == 0
    said = capsys.readouterr().err
    assert "left out" in said and "broken.png" in said and "empty.png" in said
    assert (photos / "model" / "model.safetensors").read_bytes() == whole
    names = json.loads((photos / "model" / "examples.json").read_text())
    assert len(names) == len(list((photos / "photos").glob("*/*"))) - 2 and "star/broken.png" not in names


def test_damaged_examples_that_are_added(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit()
    before = len(json.loads((photos / "model" / "examples.json").read_text()))
    (photos / "more" / "tree").mkdir(parents=True)
    shutil.copyfile("new/star.png", "more/tree/1.png")
    (photos / "more" / "tree" / "2.png").write_bytes(b"no picture")
    line = ["fit", "more", "--add", "--out", "model"]
    assert main(line) == 2 and "--skip-damaged" in capsys.readouterr().err
    assert main([*line, "--skip-damaged", "--quiet"]) == 0
    names = json.loads((photos / "model" / "examples.json").read_text())
    assert len(names) == before + 1 and names[-1] == "tree/1.png"


def test_the_classifier_is_saved_before_a_reader_closes_the_pipe(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(*given: Any) -> None:
        raise BrokenPipeError

    monkeypatch.setattr("fewshot.cli.fit._say", closed)
    monkeypatch.setattr(os, "dup2", lambda *given: None)
    assert main(["fit", "photos", "--encoder", "fewshot:tiny-clip", "--out", "model"]) == 1
    assert main(["predict", "model", "new", "--csv", "answers.csv"]) == 0


def test_bad_files_are_named_and_passed_over(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit()
    (photos / "new" / "broken.png").write_bytes(b"no picture")
    capsys.readouterr()
    assert main(["predict", "model", "new", "--csv", "answers.csv"]) == 0
    assert "4 classified; 1 could not be read" in capsys.readouterr().err
    first = table("answers.csv")[0]
    assert first["item"] == "broken.png" and first["label"] == "" and "no picture" in first["problem"]
    assert "of X" not in first["problem"]
    assert main(["predict", "model", "new", "--bad", "stop"]) == 2
    assert "broken.png" in capsys.readouterr().err


@pytest.mark.parametrize("more", [[], ["--strategy", "linear-probe", "--epochs", "1"]])
def test_a_folder_beside_the_classifier_is_nobodys_to_remove(photos: Path, more: list[str]) -> None:
    shutil.move("photos", "training")
    before = sorted(Path("training").rglob("*.png"))
    assert (
        main(["fit", "training", "--encoder", "net:conv4(item_shape=(3, 8, 8))", "--out", ".", *more, "--quiet"]) == 0
    )
    assert sorted(Path("training").rglob("*.png")) == before and Path("config.json").exists()


def test_further_examples_and_classes(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit()
    found = pictures()
    Path("more/ring").mkdir(parents=True)
    for number, picture in enumerate(found["ring"][:3]):
        picture.save(f"more/ring/{number}.png")
    found["ring"][3].save("new/ring.png")
    assert main(["fit", "more", "--add", "--out", "model"]) == 0
    main(["predict", "model", "new", "--csv", "answers.csv"])
    assert [row["label"] for row in table("answers.csv")] == ["circle", "heart", "ring", "star"]
    assert table("answers.csv")[2]["nearest"].startswith("ring/")
    capsys.readouterr()
    assert main(["fit", "more", "--add", "--out", "model", "--learner", "ridge"]) == 2
    assert "leave out --learner" in capsys.readouterr().err


def test_what_looks_mislabelled_is_listed(
    photos: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copy("photos/star/0.png", "photos/heart/wrong.png")
    assert fit("--json") == 0
    suspects = json.loads(capsys.readouterr().out)["suspects"]
    assert "heart/wrong.png" in [row["item"] for row in suspects]
    said = "the same content is labelled 'heart' (photos/heart/wrong.png) and 'star' (photos/star/0.png)."
    assert said in [record.getMessage() for record in caplog.records]


def test_texts_for_an_encoder_of_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mails.csv").write_text("text;label\nhello you;a\nbye now;b\nhello there;a\nbye bye;b\n")
    assert main(["fit", "mails.csv", "--encoder", "pixels", "--out", "model"]) == 2
    said = capsys.readouterr().err
    assert "'mails.csv' holds texts, which the encoder 'pixels' does not read" in said and "text:minilm" in said


def test_texts_from_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    Path("texts.csv").write_text("text,label\na red circle,red\na red heart,red\na blue ring,blue\na blue moon,blue\n")
    assert main(["fit", "texts.csv", "--encoder", "fewshot:tiny-clip", "--out", "model"]) == 0
    Path("new.txt").write_text("a red star\na blue square\n")
    assert main(["predict", "model", "--texts", "new.txt", "--csv", "answers.csv"]) == 0
    assert [row["label"] for row in table("answers.csv")] == ["red", "blue"]
    Path("new.csv").write_text("id,text\n1,=a red star\n")
    assert main(["predict", "model", "--texts", "new.csv", "--csv", "formula.csv"]) == 0
    assert table("formula.csv")[0]["item"] == "'=a red star"  # no formula for a spreadsheet


def test_class_names_alone(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--classes", *NAMES, "--encoder", "fewshot:tiny-clip", "--out", "zero"]
    assert main(["fit", *arguments]) == 0
    assert main(["predict", "zero", "new", "--csv", "answers.csv"]) == 0
    assert [row["label"] for row in table("answers.csv")] == list(NAMES)
    assert table("answers.csv")[0]["nearest"] == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["fit", "nowhere", "--out", "m"], "there is no folder or table 'nowhere'"),
        (["fit", "--out", "m"], "nothing to learn from"),
        (["fit", "photos/heart", "--out", "m"], "put each into the sub-folder of its class"),
        (["fit", "photos", "--classes", "a", "--out", "m"], "which 'l2 | logistic' does not use"),
        (["predict", "photos", "new"], "is not a saved classifier"),
        (["fit", "photos/heart/0.png", "--out", "m"], "neither a folder nor a table"),
    ],
)
def test_what_is_wrong_is_said(
    arguments: list[str], words: str, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) in (1, 2)
    assert words in capsys.readouterr().err


def test_weights_in_files_travel_with_the_classifier(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import torch
    from safetensors.torch import save_file
    from torchvision.models import mobilenet_v3_small

    torch.manual_seed(0)
    save_file(mobilenet_v3_small(num_classes=3).state_dict(), "net.safetensors")
    spec = "torchvision:mobilenet_v3_small@net.safetensors(size=64)"
    assert main(["fit", "photos", "--encoder", spec, "--out", "model"]) == 0
    assert main(["predict", "model", "new", "--csv", "before.csv"]) == 0
    Path("net.safetensors").unlink()
    shutil.move("model", "moved")
    assert main(["predict", "moved", "new", "--csv", "after.csv"]) == 0
    assert table("before.csv") == table("after.csv")
    content = bytearray((Path("moved") / "encoder.safetensors").read_bytes())
    content[-1] ^= 1
    (Path("moved") / "encoder.safetensors").write_bytes(content)
    assert main(["predict", "moved", "new"]) == 2
    assert "is not the one that was saved" in capsys.readouterr().err
