"""One set of rules for what is given to `embed`, both classifiers and `ImageSource`: ``docs/inputs.md``, row by row."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
from PIL import Image
from torch import Tensor, nn

from episodes import ImageSource, TensorSource, TextSource
from episodes.labels import label_array
from fewshot import FewShotClassifier, ZeroShotClassifier, embed
from fewshot.classifier import rows
from fewshot.classifier.labels import as_labels
from fewshot.cli import main
from fewshot.encoders import Encoder, ModuleEncoder, Preprocess

DOCS = Path(__file__).parents[2] / "docs" / "inputs.md"
RANDOM = np.random.default_rng(0)


class Both(Encoder):
    """Mean colours of images, letter counts of texts."""

    name, dim, logit_scale = "both", 3, 10.0
    transform = Preprocess(8, 8)

    @property
    def fingerprint(self) -> dict[str, Any]:
        return {"family": "both"}

    def encode_images(self, batch: Tensor) -> Tensor:
        return batch.mean((2, 3))

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        return torch.tensor([[text.count(letter) + 0.1 for letter in "rgb"] for text in texts])


class Reader(Both):
    """Texts only."""

    name, transform = "reader", None  # type: ignore[assignment]

    def encodes(self, kind: str) -> bool:
        return kind == "texts"


class Viewer(Both):
    """Images only."""

    name = "viewer"

    def encodes(self, kind: str) -> bool:
        return kind == "images"


def colour(red: int, green: int, blue: int) -> np.ndarray:
    return np.full((30, 40, 3), (red, green, blue), np.uint8)


def table(heading: str) -> list[list[str]]:
    """The rows of the table below a heading of the document, code marks stripped."""
    part = DOCS.read_text(encoding="utf-8").split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = [line.strip("|").split(" | ") for line in part.splitlines() if line.startswith("|")][2:]
    return [[cell.strip().strip("`") for cell in line] for line in lines]


@pytest.fixture
def given(tmp_path: Path) -> dict[str, Any]:
    """What the document's expressions speak of."""
    pixels = RANDOM.integers(0, 256, (30, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "owl.png")
    (tmp_path / "photos").mkdir()
    return {
        "file": str(tmp_path / "owl.png"), "folder": str(tmp_path / "photos"), "photo": Image.fromarray(pixels),
        "pixels": pixels, "np": np, "pd": pd, "torch": torch, "Path": Path, "scipy": scipy,
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

    def test_missing_files_can_be_skipped(self, given: dict[str, Any]) -> None:
        source = embed([given["file"], "gone.png"], Both(), labels=[0, 1], cache=False, on_error="skip")
        assert source.labels.tolist() == [0]
        assert "gone.png" in source.report["skipped"][0]["error"]


class TestWhatWasFitted:
    def test_texts_and_images_are_not_mixed(self, given: dict[str, Any]) -> None:
        images = [colour(255, 0, 0), colour(0, 0, 255)]
        for make in (
            lambda: FewShotClassifier(Both(), cache=False),
            lambda: ZeroShotClassifier(Both(), learner="tip-adapter", cache=False),
        ):
            on_images = make().fit(images, ["r", "b"])
            with pytest.raises(ValueError, match=r"X holds texts \(text 'bbb' .*but images were fitted"):
                on_images.predict(["bbb"])
            assert len(on_images.predict([given["file"]])) == 1
            on_texts = make().fit(["rr", "bb"], ["r", "b"])
            with pytest.raises(ValueError, match=r"X holds images .*but texts were fitted"):
                on_texts.predict(images)
            assert on_texts.predict(["rrr"]).tolist() == ["r"]
            assert on_texts.fit(images, ["r", "b"]).predict(images).tolist() == ["r", "b"]

    def test_more_examples_are_of_the_same_kind(self) -> None:
        classifier = FewShotClassifier(Both(), cache=False).partial_fit(["rr", "bb"], ["r", "b"])
        with pytest.raises(ValueError, match=r"X holds images .*but texts were fitted"):
            classifier.partial_fit([colour(0, 255, 0)], ["g"])

    def test_without_examples_both_kinds_are_answered(self) -> None:
        classifier = ZeroShotClassifier(Both(), templates=["{label}"], cache=False).fit(None, ["rrr", "bbb"])
        assert classifier.predict([colour(255, 0, 0), colour(0, 0, 255)]).tolist() == ["rrr", "bbb"]
        assert classifier.predict(["rr", "bb"]).tolist() == ["rrr", "bbb"]


class TestFeatures:
    def test_zero_shot_takes_tables_of_numbers(self) -> None:
        classifier = ZeroShotClassifier(Both(), templates=["{label}"], cache=False).fit(None, ["rrr", "bbb"])
        features = [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
        forms: list[Any] = [
            features, np.array(features), torch.tensor(features).bfloat16(), pd.DataFrame(features),
            torch.tensor(features, requires_grad=True), np.array(features, dtype=np.int64),
        ]  # fmt: skip
        for X in forms:
            assert classifier.predict(X).tolist() == ["rrr", "bbb"]

    @pytest.mark.parametrize(
        ("X", "message"),
        [
            (np.array([[1, 0, 0], [0, np.nan, 0]]), "row 1 of X contains NaN"),
            (np.array([[1, 0, 0], [0, np.inf, 0]]), "row 1 of X contains NaN or infinity"),
            (np.eye(4), "X has 4 features, but 'both' gives 3"),
            (np.zeros((2, 0)), r"0 feature\(s\)"),
            (scipy.sparse.eye(3).tocsr(), r"X is sparse .*toarray"),
            (torch.eye(3).to_sparse(), r"X is sparse .*to_dense"),
            (np.eye(3) * 1j, "[Cc]omplex"),
        ],
    )
    def test_features_that_are_refused(self, X: Any, message: str) -> None:
        classifier = ZeroShotClassifier(Both(), templates=["{label}"], cache=False).fit(None, ["rrr", "bbb"])
        with pytest.raises(ValueError, match=message):
            classifier.predict(X)

    @pytest.mark.parametrize(
        ("X", "message"),
        [
            (scipy.sparse.eye(2).tocsr(), "sparse"),
            (torch.eye(2).to_sparse(), r"sparse.*to_dense"),
            (torch.eye(2, dtype=torch.complex64), "complex"),
            (np.zeros((2, 0)), "0 feature"),
            (Image.new("RGB", (4, 4)), "name an encoder"),
            (pd.Series(["a.jpg", "b.jpg"]), "name an encoder"),
            ([torch.zeros(2), torch.zeros(3)], "several shapes"),
        ],
    )
    def test_without_an_encoder(self, X: Any, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            FewShotClassifier().fit(X, [0, 1])

    def test_lists_of_tensors(self) -> None:
        X = [torch.tensor([1.0, 0.0], requires_grad=True), torch.tensor([0.0, 1.0])]
        assert FewShotClassifier().fit(X, [0, 1]).predict(X).tolist() == [0, 1]


class TestClassNames:
    @pytest.mark.parametrize(
        ("names", "message"),
        [
            ("owl", r"single string 'owl'; give a list of them, such as \['owl'\]"),
            (None, "None"),
            (["owl", None], "row 1 of y is missing"),
        ],
    )
    def test_refused(self, names: Any, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            ZeroShotClassifier(Both(), cache=False).fit(None, names)

    def test_of_every_kind(self) -> None:
        for names in (["owl", "crow"], ("owl", "crow"), np.array(["owl", "crow"]), pd.Series(["owl", "crow"])):
            assert ZeroShotClassifier(Both(), cache=False).fit(None, names).classes_.tolist() == ["crow", "owl"]
        X, names = [colour(255, 0, 0)], np.array(["r", "b"])
        classifier = ZeroShotClassifier(Both(), learner="tip-adapter", cache=False).fit(X, ["r"], class_names=names)
        assert classifier.classes_.tolist() == ["b", "r"]


def keep_size(image: Any) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255


def as_dictionary(image: Any) -> dict[str, Any]:
    return {"pixel_values": keep_size(image.resize((32, 32)))[None]}


def as_array(image: Any) -> Any:
    return np.asarray(image.resize((32, 32))) / 255


class TestTransforms:
    IMAGES = tuple(RANDOM.integers(0, 256, (5, 32, 32, 3), dtype=np.uint8))

    def net(self) -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 7))

    @pytest.mark.parametrize("transform", [keep_size, as_dictionary, as_array])
    def test_a_net_for_images_of_32_pixels(self, transform: Any, tmp_path: Path) -> None:
        model = ModuleEncoder(self.net(), transform)
        expected = model.encode_images(torch.stack([keep_size(Image.fromarray(i)) for i in self.IMAGES])).detach()
        for _ in range(2):  # the second time from the cache, canaries included
            found = embed(list(self.IMAGES), model, cache=tmp_path, storage="float32", progress=False)
            torch.testing.assert_close(found.features, expected, rtol=1e-4, atol=1e-5)
        assert found.report["hits"] == 5
        assert model.dim == (None if transform is keep_size else 7)

    def test_a_size_that_the_net_does_not_take_is_said(self) -> None:
        with pytest.raises(
            RuntimeError, match=r"'Sequential' cannot encode a batch \[1, 3, 30, 40\] of torch\.float32"
        ):
            embed([colour(1, 2, 3)], ModuleEncoder(self.net(), keep_size), cache=False)
        sizes = [self.IMAGES[0], colour(1, 2, 3)]
        with pytest.raises(ValueError, match="needs a transform that resizes"):
            embed(sizes, ModuleEncoder(nn.Conv2d(3, 2, 3), keep_size), cache=False)
        kept = embed(sizes, ModuleEncoder(nn.Conv2d(3, 2, 3), keep_size), cache=False, on_error="skip")
        assert len(kept) == len(kept.report["skipped"]) == 1

    def test_what_is_no_image_is_named(self) -> None:
        model = ModuleEncoder(self.net(), lambda image: {"a": 1, "b": 2})
        with pytest.raises(ValueError, match=r"picture \(row 0 .*the transform gives a mapping of a, b"):
            embed(list(self.IMAGES), model, cache=False)

    @pytest.mark.parametrize("transform", [keep_size, as_dictionary, None])
    def test_half_precision(self, transform: Any) -> None:
        images = list(self.IMAGES) if transform else torch.rand(5, 3, 32, 32)
        exact = embed(images, ModuleEncoder(self.net(), transform), cache=False)
        for dtype in (torch.bfloat16, torch.float16, torch.float64):
            half = embed(images, ModuleEncoder(self.net().to(dtype), transform), cache=False)
            torch.testing.assert_close(half.features.float(), exact.features.float(), rtol=0.05, atol=0.05)

    def test_unreadable_images_at_the_beginning(self, given: dict[str, Any]) -> None:
        items = [f"gone-{number}.png" for number in range(20)] + [given["file"]]
        found = embed(items, ModuleEncoder(nn.Conv2d(3, 2, 3), keep_size), cache=False, on_error="skip")
        assert len(found) == 1


class TestSkipping:
    def test_classifiers_recommend_nothing_that_they_lack(self, given: dict[str, Any]) -> None:
        classifier = FewShotClassifier(Both(), cache=False).fit([given["file"]], ["owl"])
        with pytest.raises(ValueError, match=r"'gone\.png' \(row 1 .*correct or drop that row") as caught:
            classifier.predict([given["file"], "gone.png"])
        assert "on_error" not in str(caught.value)

    def test_the_command_line_skips_damaged_items(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        for name in ("owl", "crow"):
            for number in range(6):
                path = tmp_path / "birds" / name / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(RANDOM.integers(0, 256, (9, 9, 3), dtype=np.uint8)).save(path)
        path.write_bytes(b"torn")
        command = ["evaluate", "--data", f"folder:{tmp_path / 'birds'}", "--encoder", "pixels(size=4)", "--way", "2",
                   "--shot", "1", "--query", "2", "--episodes", "2", "--cache", str(tmp_path / "cache")]  # fmt: skip
        assert main(command) != 0
        assert main([*command, "--skip-damaged"]) == 0
        assert "1 damaged ones left out" in capsys.readouterr().err

    def test_classify_leaves_hidden_files_out(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        for name in ("a.png", "._a.png", ".ipynb_checkpoints/a.png"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            Image.fromarray(colour(255, 0, 0)).save(tmp_path / name, "PNG")
        command = ["classify", str(tmp_path), "--classes", "red", "blue", "--encoder", "fewshot:tiny-clip"]
        assert main([*command, "--cache", str(tmp_path / "cache"), "--quiet"]) == 0
        assert capsys.readouterr().out.count(".png") == 1
