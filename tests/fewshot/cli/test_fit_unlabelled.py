"""``fewshot fit --unlabelled``: probabilities judged by what will be asked about."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from PIL import Image

from episodes import load_dataset
from fewshot import FewShotClassifier
from fewshot.cli import main

NAMES = ("circle", "heart", "star")


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One photo of each of three classes, and a folder of thirty others."""
    monkeypatch.chdir(tmp_path)
    scenes = load_dataset("scenes:shape", count=200, seed=5)
    Path("new").mkdir()
    for name in NAMES:
        Path("photos", name).mkdir(parents=True)
        rows = (scenes.labels == scenes.class_names.index(name)).nonzero().flatten().tolist()
        for number, row in enumerate(rows[:11]):
            place = Path("new", f"{name}{number}.png") if number else Path("photos", name, "0.png")
            Image.fromarray(scenes.features[row].permute(1, 2, 0).numpy()).save(place)


def fit(*more: str, data: str = "photos", out: str = "model") -> int:
    return main(["fit", data, "--encoder", "fewshot:tiny-clip", "--out", out, "--quiet", *more])


def temperature(model: str = "model") -> float:
    return float(json.loads(Path(model, "config.json").read_text())["temperature"])


@pytest.mark.usefixtures("photos")
def test_they_set_the_temperature_as_in_python(capsys: pytest.CaptureFixture[str]) -> None:
    assert fit() == 0 and "rest on an assumption" in capsys.readouterr().out
    alone = temperature()
    assert fit("--unlabelled", "new") == 0 and "rest on an assumption" not in capsys.readouterr().out
    told = temperature()
    files = sorted(Path("new").iterdir())
    examples = [str(Path("photos", name, "0.png")) for name in NAMES]
    made = FewShotClassifier("fewshot:tiny-clip").fit(examples, NAMES, unlabelled=files)
    assert told == pytest.approx(made.temperature_) != alone
    Path("new", "broken.png").write_bytes(b"no picture")
    assert fit("--unlabelled", "new") == 2 and "--skip-damaged" in capsys.readouterr().err
    assert fit("--unlabelled", "new", "--skip-damaged") == 0 and temperature() == pytest.approx(told)


@pytest.mark.usefixtures("photos")
def test_with_further_examples() -> None:
    assert fit() == 0
    Path("more", "star").mkdir(parents=True)
    Path("new", "star1.png").rename("more/star/1.png")
    assert main(["fit", "more", "--add", "--unlabelled", "new", "--out", "model", "--quiet"]) == 0
    files = [str(Path("photos", name, "0.png")) for name in NAMES]
    made = FewShotClassifier("fewshot:tiny-clip").fit(files, NAMES).partial_fit(["more/star/1.png"], ["star"])
    assert temperature() == pytest.approx(made.calibrate(unlabelled=sorted(Path("new").iterdir())).temperature_)


@pytest.mark.usefixtures("photos")
def test_texts() -> None:
    Path("texts.csv").write_text("text,label\na red circle,red\na blue ring,blue\n")
    Path("new.txt").write_text("".join(f"a {colour} {what}\n" for colour in ("red", "blue") for what in "abcdefg"))
    assert fit(data="texts.csv", out="alone") == fit("--unlabelled", "new.txt", data="texts.csv", out="told") == 0
    assert temperature("alone") != temperature("told")


@pytest.mark.usefixtures("photos")
@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["photos", "--unlabelled", "photos/star"], "unlabelled holds 1 rows.*at least 10"),
        (["photos", "--unlabelled", "new", "--reject", "2"], "reject=2.0"),
        (["photos", "--unlabelled", "new", "--strategy", "full"], "--strategy holds examples out instead"),
        (["--classes", "a", "b", "--unlabelled", "new"], "without examples there is nothing to cluster around"),
        (["photos", "--unlabelled", "new", "--learner", "proker"], "'proker' uses words as well"),
        (["texts.csv", "--unlabelled", "a.txt", "b.txt"], "takes one file of texts"),
    ],
)
def test_what_is_refused(more: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("texts.csv").write_text("text,label\na red circle,red\na blue ring,blue\n")
    assert main(["fit", *more, "--encoder", "fewshot:tiny-clip", "--out", "model", "--quiet"]) == 2
    assert re.search(words, capsys.readouterr().err) and not Path("model", "config.json").exists()
