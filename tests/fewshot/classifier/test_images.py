"""Images through an encoder, however they are given."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import cross_val_score

from fewshot.classifier import FewShotClassifier


def photographs(root: Path, part: str, per_class: int) -> tuple[list[Path], list[str]]:
    """The first photographs of each garment."""
    folders = sorted(folder for folder in (root / "clothing_small_224" / part).iterdir() if folder.is_dir())
    chosen = [sorted(folder.glob("*.jpg"))[:per_class] for folder in folders]
    return list(itertools.chain(*chosen)), [path.parent.name for paths in chosen for path in paths]


@pytest.fixture
def mobilenet(shared_data: Path) -> str:
    """A spec string for real ImageNet weights."""
    weights = shared_data / "backbones" / "timm_mobilenetv2_100_same_imagenet_tf2.safetensors"
    return f"timm:mobilenetv2_100@{weights}(pad_type='same', num_classes=1001, mean=0.5, std=0.5)"


@pytest.fixture
def colours() -> tuple[list[np.ndarray], list[str]]:
    """Eight small images, red ones and blue ones."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 60, size=(8, 12, 12, 3), dtype=np.uint8)
    images[:4, ..., 0] += 180
    images[4:, ..., 2] += 180
    return list(images), ["red"] * 4 + ["blue"] * 4


def needs_embed() -> None:
    embedding = pytest.importorskip("fewshot.embedding")
    if not hasattr(embedding, "embed"):
        pytest.skip("needs fewshot.embedding.embed")


def test_images_as_arrays_pillow_and_files(colours: tuple[list[np.ndarray], list[str]], tmp_path: Path) -> None:
    needs_embed()
    from PIL import Image

    arrays, y = colours
    pictures = [Image.fromarray(array) for array in arrays]
    files = [tmp_path / f"{i}.png" for i in range(8)]
    for picture, file in zip(pictures, files, strict=True):
        picture.save(file)
    answers = []
    for X in (arrays, np.stack(arrays), pictures, files, [str(file) for file in files]):
        classifier = FewShotClassifier(encoder="pixels(size=8)", learner="prototypes(scale=0.1)")
        classifier.fit([X[0], X[5]], ["red", "blue"])
        assert classifier.predict(X).tolist() == y
        answers.append(classifier.predict_proba(X))
    for other in answers[1:]:
        np.testing.assert_allclose(other, answers[0], atol=1e-3)
    assert classifier.explain(X)[0].nearest[0].item == str(files[0])


def test_encoder_bad_input(colours: tuple[list[np.ndarray], list[str]], tmp_path: Path) -> None:
    needs_embed()
    arrays, y = colours
    with pytest.raises(ValueError, match="give a sequence of items"):
        FewShotClassifier("pixels").fit("photo.jpg", ["red"])
    with pytest.raises(ValueError, match="X is empty"):
        FewShotClassifier("pixels").fit([], [])
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        FewShotClassifier("pixels").fit(arrays, y[:3])
    with pytest.raises(ValueError, match="did you mean 'pixels'"):
        FewShotClassifier("pixel").fit(arrays, y)
    (tmp_path / "broken.jpg").write_bytes(b"not an image")
    with pytest.raises((ValueError, OSError), match=r"broken\.jpg"):
        FewShotClassifier("pixels").fit([tmp_path / "broken.jpg"] * 2, ["red", "blue"])


def test_clones_share_the_encoder(colours: tuple[list[np.ndarray], list[str]]) -> None:
    needs_embed()
    from fewshot import encoders

    arrays, y = colours
    encoder = encoders.load_encoder("pixels(size=8)")
    classifier = FewShotClassifier(encoder)
    assert clone(classifier).encoder is encoder
    assert cross_val_score(classifier, arrays, y, cv=2).mean() == 1


def test_classifier_with_encoder_is_saved(colours: tuple[list[np.ndarray], list[str]], tmp_path: Path) -> None:
    needs_embed()
    from fewshot.encoders import load_encoder

    arrays, y = colours
    by_name = FewShotClassifier("pixels(size=8)").fit(arrays, y)
    loaded = FewShotClassifier.load(by_name.save(tmp_path / "named"))
    np.testing.assert_array_equal(loaded.predict_proba(arrays), by_name.predict_proba(arrays))
    by_object = FewShotClassifier(load_encoder("pixels(size=8)")).fit(arrays, y)
    folder = by_object.save(tmp_path / "object")
    with pytest.raises(ValueError, match=r"make it again and pass it"):
        FewShotClassifier.load(folder)
    FewShotClassifier.load(folder, encoder=load_encoder("pixels(size=8)"))
    with pytest.raises(ValueError, match="is not the one"):
        FewShotClassifier.load(folder, encoder=load_encoder("pixels(size=9)"))


def test_own_photographs(shared_data: Path, mobilenet: str) -> None:
    """Three labelled photographs of each of ten garments tell most of the others."""
    needs_embed()
    paths, labels = photographs(shared_data, "validation", 3)
    new_paths, new_labels = photographs(shared_data, "test", 3)
    classifier = FewShotClassifier(encoder=mobilenet, learner="prototypes(distance='cosine', scale=10.0)").fit(
        paths, labels
    )
    assert classifier.score(new_paths, new_labels) > 0.5  # chance is 0.1
    top = classifier.explain(new_paths[:1])[0]
    assert Path(top.nearest[0].item or "").parent.name == top.nearest[0].label
