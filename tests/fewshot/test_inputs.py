"""One set of rules for what is given to `embed`, both classifiers and `ImageSource`: ``docs/inputs.md``, row by row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
from input_examples import Both, Reader, Viewer, write_owl
from PIL import Image

from episodes import ImageSource, TensorSource, TextSource
from episodes.labels import label_array
from fewshot import FewShotClassifier, ZeroShotClassifier, embed
from fewshot.classifier import rows
from fewshot.classifier.labels import as_labels

DOCS = Path(__file__).parents[2] / "docs" / "inputs.md"


def table(heading: str) -> list[list[str]]:
    """The rows of the table below a heading of the document, code marks stripped."""
    part = DOCS.read_text(encoding="utf-8").split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = [line.strip("|").split(" | ") for line in part.splitlines() if line.startswith("|")][2:]
    return [[cell.strip().strip("`") for cell in line] for line in lines]


@pytest.fixture
def given(tmp_path: Path) -> dict[str, Any]:
    """What the document's expressions speak of."""
    file = write_owl(tmp_path)
    photo = Image.open(file).convert("RGB")  # of no file
    (tmp_path / "photos").mkdir()
    return {
        "file": file, "folder": str(tmp_path / "photos"), "photo": photo, "pixels": np.array(photo),
        "np": np, "pd": pd, "torch": torch, "Path": Path, "scipy": scipy,
    }  # fmt: skip


@pytest.mark.parametrize(("expression", "kind", "rest"), table("Items"), ids=lambda cell: cell[:40])
def test_table_of_items(expression: str, kind: str, rest: str, given: dict[str, Any]) -> None:
    X, model = eval(expression, given), Both()
    if kind == "refused":
        with pytest.raises(ValueError) as caught:
            rows.embed_items(rows.as_items(X, model), model, False, "cpu")
        assert rest in str(caught.value)
        if not isinstance(X, str):  # which for `embed` is a dataset's name
            with pytest.raises(ValueError):
                embed(X, model, cache=False, progress=False)
        return
    count = int(rest)
    items = rows.as_items(X, model)
    assert (items.kind, len(items)) == (kind, count)
    found = embed(X, model, cache=False, progress=False, storage="float32").features
    assert found.shape == (count, 3)
    np.testing.assert_array_equal(rows.embed_items(items, model, False, "cpu"), found.half().float().numpy())
    source = ImageSource(X, [0] * count, size=8) if kind == "images" else TextSource(X, [0] * count)
    assert len(source) == count
    if kind == "images":
        other = embed(source, model, cache=False, progress=False, storage="float32").features
        torch.testing.assert_close(other, found, rtol=0, atol=1e-6)
        assert embed(X, Viewer(), cache=False, progress=False).features.shape == (count, 3)


@pytest.mark.parametrize(("expression", "classes"), table("Labels"), ids=lambda cell: cell[:40])
def test_table_of_labels(expression: str, classes: str) -> None:
    y = eval(expression, {"pd": pd, "torch": torch})
    X = np.eye(3)
    if classes.startswith("refused: "):
        for read in (label_array, as_labels, lambda y: TensorSource(X, y), lambda y: FewShotClassifier().fit(X, y)):
            with pytest.raises(
                ValueError, match=classes.removeprefix("refused: ").replace("(", r"\(").replace(")", r"\)")
            ):
                read(y)
        return
    expected = eval(classes)
    fitted = FewShotClassifier().fit(X, y)
    assert fitted.classes_.tolist() == expected
    assert [type(label) for label in fitted.classes_.tolist()] == [type(label) for label in expected]
    assert fitted.predict(X).tolist() == list(y.tolist() if hasattr(y, "tolist") else y)
    assert TensorSource(X, y).class_names == [str(int(v) if isinstance(v, float) else v) for v in expected]


class TestStrings:
    def test_a_path_that_does_not_exist_is_no_text(self) -> None:
        classifier = ZeroShotClassifier(Both(), cache=False).fit(None, ["heart", "ring"])
        with pytest.raises(ValueError, match=r"'typo/heart\.jpg' \(row 0 .*No such file"):
            classifier.predict(["typo/heart.jpg"])
        assert len(classifier.predict(["a picture of a heart"])) == 1

    def test_encoders_of_one_kind(self) -> None:
        with pytest.raises(ValueError, match=r"row 1 of X, 'typo/review\.txt', is written like a file, but 'reader'"):
            FewShotClassifier(Reader(), cache=False).fit(["good", "typo/review.txt"], [1, 0])
        assert embed(TextSource(["typo/review.txt"], [0]), Reader(), cache=False).features.shape == (1, 3)
        with pytest.raises(ValueError, match=r"cannot read picture 'an owl' \(row 0"):
            embed(["an owl"], Viewer(), cache=False)

    def test_a_folder_of_that_name_makes_no_file_of_a_text(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "data").mkdir()
        monkeypatch.chdir(tmp_path)
        assert embed(["data"], Reader(), cache=False).features.shape == (1, 3)
        with pytest.raises(ValueError, match="it is a folder"):
            embed(["data"], Both(), cache=False)

    def test_missing_files_can_be_skipped(self, tmp_path: Path) -> None:
        source = embed([write_owl(tmp_path), "gone.png"], Both(), labels=[0, 1], cache=False, on_error="skip")
        assert source.labels.tolist() == [0]
        assert "gone.png" in source.report["skipped"][0]["error"]
