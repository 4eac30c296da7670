"""Exported classifiers answer as the classifiers do, without torch."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import fewshot.export
from episodes import load_dataset
from episodes.pictures import decode_picture, decode_reduced
from fewshot import FewShotClassifier, ZeroShotClassifier
from fewshot.encoders import ModuleEncoder, Preprocess
from fewshot.export.description import description

pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")

from fewshot.export.reader import ExportedClassifier

ROOT = Path(fewshot.export.__file__).parents[2]
SCENES = load_dataset("scenes:shape", count=6)
PICTURES = [Image.fromarray(rows) for rows in SCENES.features.permute(0, 2, 3, 1).numpy()]


def features(dtype: Any = np.float32) -> tuple[np.ndarray, np.ndarray]:
    labels = np.repeat([0, 1, 2], 4)
    return (np.random.default_rng(0).normal(size=(12, 8)) + labels[:, None]).astype(dtype), labels


@pytest.mark.parametrize(
    ("learner", "dtype"),
    [
        ("l2 | logistic", np.float64), ("cl2n | prototypes", np.float32), ("power | ridge", np.float32),
        ("lda", np.float32), ("svm", np.float32), ("mahalanobis", np.float32), ("nearest", np.float32),
        ("matching", np.float32), ("fine-tune", np.float32), ("scaled-prototypes", np.float32),
        ("distribution-calibration", np.float32),
    ],
)  # fmt: skip
def test_features(learner: str, dtype: Any, tmp_path: Path) -> None:
    X, y = features(dtype)
    classifier = FewShotClassifier(learner=learner, reject=0.6, reject_label=-1).fit(X, y)
    read = ExportedClassifier(str(classifier.export(tmp_path / "model.onnx")))
    new = np.concatenate([X + dtype(0.25), 30 * X])
    chances, _ = read.predict_proba(new)
    np.testing.assert_allclose(chances, classifier.predict_proba(new), atol=1e-5)
    assert read.predict(new).tolist() == classifier.predict(new).tolist()
    np.testing.assert_allclose(read.predict_proba(new[:1])[0], chances[:1], atol=1e-5)  # a single row


@pytest.mark.parametrize("settings", [{"none": True, "reject": 0.5}, {"multi_label": True}])
def test_pictures_and_words(settings: dict[str, Any], tmp_path: Path) -> None:
    classifier = ZeroShotClassifier("fewshot:tiny-clip", cache=False, **settings).fit(None, SCENES.class_names)
    read = ExportedClassifier(str(classifier.export(tmp_path / "model.onnx")))
    noise = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    items = [*PICTURES, Image.fromarray(noise)]
    np.testing.assert_allclose(read.predict_proba(items)[0], classifier.predict_proba(items), atol=1e-5)
    assert read.predict(items).tolist() == classifier.predict(items).tolist()
    assert not classifier.encoder_.module.training


def test_the_reader_prepares_pictures_as_the_encoder_does(shared_data: Path, tmp_path: Path) -> None:
    weights = shared_data / "backbones" / "timm_mobilenetv2_100_same_imagenet_tf2.safetensors"
    files = sorted((shared_data / "imagenet_samples" / "short256").glob("*.jpg"))[:9]
    encoder = f"timm:mobilenetv2_100(checkpoint={str(weights)!r}, num_classes=1001, pad_type='same', mean=0.5, std=0.5)"
    classifier = FewShotClassifier(encoder, cache=False).fit(files[:6], list("aabbcc"))
    read = ExportedClassifier(str(classifier.export(tmp_path / "model.onnx")))
    np.testing.assert_allclose(read.predict_proba(files)[0], classifier.predict_proba(files), atol=1e-5)


@pytest.mark.parametrize("size", [(640, 480), (301, 417), (1033, 777), (90, 130), (2003, 333)])
@pytest.mark.parametrize(
    "how", [Preprocess(48, 56), Preprocess(32, None, interpolation="bilinear"), Preprocess(40, 36)], ids=str
)
@pytest.mark.parametrize("decoding", ["reduced", "full"])
def test_the_reader_decodes_files_as_the_library_does(
    size: tuple[int, int], how: Preprocess, decoding: str, tmp_path: Path
) -> None:
    """Pixel for pixel: JPEG files of several sizes, of each orientation, and the same as PNG."""
    reader = ExportedClassifier.__new__(ExportedClassifier)
    encoder = ModuleEncoder(nn.Flatten(), how)
    encoder.decoding = decoding
    random = np.random.default_rng(0)
    image = Image.fromarray(random.integers(0, 256, (*size[::-1], 3), dtype=np.uint8))
    classifier = SimpleNamespace(encoder_=encoder, classes_=np.array([0, 1]), reject=None, reject_label=None,
                                 temperature_=1.0, learner_="prototypes")  # fmt: skip
    reader.about = json.loads(description(classifier, "pixels", how, 18))
    files = [tmp_path / "a.png"]
    image.save(files[0])
    for turn in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = turn
        files.append(tmp_path / f"{turn}.jpg")
        image.save(files[-1], exif=exif)
    for file in files:
        scale = encoder.scale_of(file.read_bytes())
        assert scale == 1 or decoding == "reduced"
        whole = decode_picture(file.read_bytes()), None
        expected = how.pixels(*(whole if scale == 1 else decode_reduced(file.read_bytes(), scale)))
        assert np.array_equal(reader.prepare(file), expected.permute(1, 2, 0).numpy()), (file.name, scale)
        opened = Image.open(file)
        assert np.array_equal(reader.prepare(opened), how.pixels(whole[0]).permute(1, 2, 0).numpy()), "not as a file"


def test_large_photographs_are_answered_as_by_the_classifier(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    files = []
    for number in range(8):
        coarse = Image.fromarray(random.integers(0, 256, (40 + 20 * (number % 2), 40, 3), dtype=np.uint8))
        noise = random.normal(0, 40, (500, 600, 3))
        pixels = np.clip(np.array(coarse.resize((600, 500))) + noise, 0, 255).astype(np.uint8)
        files.append(tmp_path / f"{number}.jpg")
        Image.fromarray(pixels).save(files[-1])
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 8))
    encoder = ModuleEncoder(network, Preprocess(32, 32, (0.5,) * 3, (0.1,) * 3))
    classifier = FewShotClassifier(encoder, "l2 | logistic(C=100.0)", calibrated=False, cache=False)
    classifier.fit(files, list("abababab"))
    read = ExportedClassifier(str(classifier.export(tmp_path / "model.onnx")))
    np.testing.assert_allclose(read.predict_proba(files)[0], classifier.predict_proba(files), atol=1e-5)


def test_the_reader_in_the_docs_needs_no_torch(tmp_path: Path) -> None:
    blocks = re.findall(
        r"^```python\n(.*?)^```", (ROOT / "docs" / "export.md").read_text(encoding="utf-8"), re.M | re.S
    )
    reader = (ROOT / "fewshot" / "export" / "reader.py").read_text(encoding="utf-8")
    assert blocks[-1] == reader
    X, y = features()
    classifier = FewShotClassifier().fit(X, np.array(["a", "b", "c"])[y])
    path = classifier.export(tmp_path / "model.onnx")
    about = "import sys, numpy; sys.modules['torch'] = sys.modules['fewshot'] = None\n"
    use = f"\nprint(ExportedClassifier({str(path)!r}).predict(numpy.load({str(tmp_path / 'X.npy')!r})).tolist())"
    np.save(tmp_path / "X.npy", X)
    script = about + reader.replace("from __future__ import annotations\n", "") + use
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == repr(classifier.predict(X).tolist())


def test_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from fewshot.cli import main

    X, y = features()
    classifier = FewShotClassifier(learner="prototypes").fit(X, y)
    classifier.save(tmp_path / "model")
    assert main(["export", str(tmp_path / "model"), str(tmp_path / "model.onnx")]) == 0
    assert "opset 18" in capsys.readouterr().err
    read = ExportedClassifier(str(tmp_path / "model.onnx"))
    assert read.predict(X).tolist() == classifier.predict(X).tolist()
    assert main(["export", str(tmp_path / "model"), str(tmp_path / "m.onnx"), "--inputs", "pixels"]) == 2
    assert "has no encoder" in capsys.readouterr().err


def test_the_file_says_what_it_is(tmp_path: Path) -> None:
    X, y = features()
    path = FewShotClassifier(reject=0.4).fit(X, y).export(tmp_path / "model.onnx")
    about = ExportedClassifier(str(path)).about
    assert about["classes"] == [0, 1, 2]
    assert (about["reject"], about["reject_label"], about["inputs"]) == (0.4, -1, "features")
    assert json.loads(json.dumps(about)) == about
    assert list(tmp_path.iterdir()) == [path]  # no file beside it


class TestRefusals:
    X, y = features()

    def test_transductive(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"pt-map is transductive.*inductive one"):
            FewShotClassifier(learner="pt-map").fit(self.X, self.y).export(tmp_path / "m.onnx")
        assert not list(tmp_path.iterdir())

    def test_code_that_no_graph_holds(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"the learner sklearn.* does not become a graph"):
            FewShotClassifier(learner="sklearn").fit(self.X, self.y).export(tmp_path / "m.onnx")

    def test_arguments(self, tmp_path: Path) -> None:
        classifier = FewShotClassifier().fit(self.X, self.y)
        with pytest.raises(ValueError, match=r"opset=9; it must be 18\.\.23"):
            classifier.export(tmp_path / "m.onnx", opset=9)
        with pytest.raises(ValueError, match="no encoder; use inputs='features'"):
            classifier.export(tmp_path / "m.onnx", inputs="pixels")
        with pytest.raises(ValueError, match="inputs='texts'"):
            classifier.export(tmp_path / "m.onnx", inputs="texts")

    def test_nothing_to_export_with(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "onnxruntime", None)
        with pytest.raises(ImportError, match=r"fewshot\[onnx\]"):
            FewShotClassifier().fit(self.X, self.y).export(tmp_path / "m.onnx")

    def test_pictures_of_any_size(self, tmp_path: Path) -> None:
        pictures = np.random.default_rng(0).random((6, 3, 8, 8)).astype(np.float32)
        classifier = FewShotClassifier("pixels", cache=False).fit(pictures, list("aabbcc"))
        with pytest.raises(ValueError, match=r"takes pictures as they are.*inputs='features'"):
            classifier.export(tmp_path / "m.onnx")
