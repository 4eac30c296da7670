"""What the app does, without its page."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from episodes import load_dataset
from fewshot import FewShotClassifier
from fewshot.app import Session


@pytest.fixture(scope="module")
def scenes() -> dict[str, list[Image.Image]]:
    """Drawn scenes by the colour of their ground."""
    source = load_dataset("scenes:background", count=150)
    pictures: dict[str, list[Image.Image]] = {}
    for row, label in zip(source.features.permute(0, 2, 3, 1).numpy(), source.labels.tolist(), strict=True):
        pictures.setdefault(source.class_names[label], []).append(Image.fromarray(row))
    return {name: pictures[name] for name in list(pictures)[:3]}


def taught(scenes: dict[str, list[Image.Image]], each: int) -> Session:
    session = Session(cache=False)
    for name, pictures in scenes.items():
        session.add(name, pictures[:each])
    return session


def test_examples_to_answers_to_a_file(scenes: dict[str, list[Image.Image]], tmp_path: Path) -> None:
    session = taught(scenes, 4)
    assert session.counts() == dict.fromkeys(scenes, 4)
    assert "12 examples of 3 classes. Held out in turn" in session.learn()
    first, *_ = scenes
    answer = session.ask(scenes[first][5])
    assert answer.label == first == next(iter(answer.probabilities))
    assert sum(answer.probabilities.values()) == pytest.approx(1, abs=1e-5)
    assert answer.likely is not None and first in answer.likely
    assert all(label in scenes and example.size == (64, 64) for example, label, _ in answer.alike)
    cosines = [cosine for *_, cosine in answer.alike]
    assert cosines == sorted(cosines, reverse=True) and cosines[0] <= 1.0001
    with zipfile.ZipFile(session.pack(tmp_path / "out")) as archive:
        archive.extractall(tmp_path)
    read = FewShotClassifier.load(tmp_path / "classifier", cache=False)
    picture = np.asarray(scenes[first][5])
    assert read.predict_proba([picture])[0].max() == pytest.approx(next(iter(answer.probabilities.values())), abs=1e-6)


def test_uneven_classes_are_averaged_as_well(scenes: dict[str, list[Image.Image]]) -> None:
    session = taught(scenes, 3)
    assert "mean over classes" not in session.learn()
    first, *_ = scenes
    session.add(first, scenes[first][3:5])
    said = session.learn()
    assert session.classifier is not None
    assert f"; mean over classes: {100 * session.classifier.estimate().balanced_accuracy:.0f} %." in said


def test_a_correction_is_an_example(scenes: dict[str, list[Image.Image]], tmp_path: Path) -> None:
    session = taught(scenes, 1)
    assert "With two of each" in session.learn()
    strange = Image.new("RGB", (64, 64), (255, 0, 255))
    session.correct(strange, "plain")
    assert session.counts()["plain"] == 1
    assert session.ask(strange).label == "plain"
    session.add("later", [strange])  # not learned yet: what is asked goes by the classifier as it is
    assert "later" not in session.ask(strange).probabilities
    assert session.pack(tmp_path) == session.pack(tmp_path)


def test_names_alone_and_with_examples(scenes: dict[str, list[Image.Image]]) -> None:
    session = Session(cache=False)
    session.describe(", ".join(scenes) + ",\n", "the colour of the background")
    assert "no examples" in session.learn()
    for name, pictures in scenes.items():
        answer = session.ask(pictures[0])
        assert (answer.label, answer.likely, answer.alike) == (name, None, [])
    first, *_ = scenes
    session.add(first, scenes[first][:2])
    session.learn()
    assert session.ask(scenes[first][3]).label == first
    session.forget()
    with pytest.raises(ValueError, match="Nothing was learned"):
        session.ask(scenes[first][0])


def test_what_is_missing_is_said(scenes: dict[str, list[Image.Image]], tmp_path: Path) -> None:
    session = Session(cache=False)
    with pytest.raises(ValueError, match="at least two classes"):
        session.learn()
    with pytest.raises(ValueError, match="Name the class"):
        session.add(" ", [])
    with pytest.raises(ValueError, match="Nothing was learned"):
        session.pack(tmp_path)
    blind = Session("pixels(size=8)", cache=False)
    blind.describe("a, b")
    with pytest.raises(ValueError, match="reads no words"):
        blind.learn()


def test_pictures_are_read_as_files_are(tmp_path: Path) -> None:
    """Upright by their EXIF tags, and 16-bit grey as grey, in examples and in what is asked about."""
    deep = np.linspace(0, 65535, 20 * 30).reshape(20, 30).astype(np.uint16)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray((deep[::-1] >> 8).astype(np.uint8)).save(tmp_path / "turned.png", exif=exif)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    files = [tmp_path / "turned.png", tmp_path / "deep.png"]
    session = Session("pixels(size=8)", cache=False)
    for file in files:
        session.add(file.stem, [Image.open(file)])
    session.learn()
    fitted = FewShotClassifier("pixels(size=8)", "l2 | logistic", cache=False).fit(files, ["turned", "deep"])
    np.testing.assert_array_equal(session.classifier.support_, fitted.support_)
    assert session.ask(Image.open(files[0])).alike[0][2] == pytest.approx(1, abs=1e-3)
