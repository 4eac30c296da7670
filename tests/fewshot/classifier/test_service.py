"""`predict` of one item again and again: nothing but decoding and the forward pass, and nothing left behind."""

from __future__ import annotations

import gc
import os
import threading
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from fewshot import FewShotClassifier, ZeroShotClassifier
from fewshot.encoders import Encoder, Preprocess
from fewshot.learners.prototypes import Prototypes


class Colours(Encoder):
    """Mean colours of pictures, and of the words red and blue; counts what it is asked for."""

    name, dim, logit_scale = "colours", 3, 10.0

    def __init__(self) -> None:
        self.transform = Preprocess(8, 8)
        self.asked = {"identity": 0, "pictures": 0, "texts": 0}

    @property
    def fingerprint(self) -> dict[str, Any]:
        self.asked["identity"] += 1
        return {"family": "colours"}

    def encode_images(self, batch: Tensor) -> Tensor:
        self.asked["pictures"] += len(batch)
        return batch.mean((2, 3)) + 0.01

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        self.asked["texts"] += len(texts)
        return torch.tensor([[float("red" in text), 0.1, float("blue" in text)] for text in texts])


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Twelve pictures, the even ones red and the others blue."""
    paths = [tmp_path / f"{number:02}.png" for number in range(12)]
    for number, path in enumerate(paths):
        pixels = np.full((10 + number, 9, 3), 10 * number, np.uint8)
        pixels[..., 2 * (number % 2)] = 255
        Image.fromarray(pixels).save(path)
    return paths


def fitted(kind: str, encoder: Encoder, files: list[Path], cache: Path) -> Any:
    if kind == "few-shot":
        return FewShotClassifier(encoder, cache=cache, device="cpu").fit(files[:4], ["red", "blue"] * 2)
    return ZeroShotClassifier(encoder, cache=cache, device="cpu").fit(None, ["red", "blue"])


def left(cache: Path) -> tuple[list[str], int, int]:
    """Files of the cache, open descriptors, threads."""
    names = sorted(str(path) for path in cache.rglob("*"))
    descriptors = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    return names, descriptors, threading.active_count()


@pytest.mark.parametrize("kind", ["few-shot", "zero-shot"])
def test_one_at_a_time_costs_one_picture_and_leaves_nothing(
    kind: str, files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder, cache = Colours(), tmp_path / "cache"
    model = fitted(kind, encoder, files, cache)
    adapted: list[int] = []
    adapt = Prototypes.adapt
    monkeypatch.setattr(Prototypes, "adapt", lambda self, *given: (adapted.append(1), adapt(self, *given))[1])
    model.predict(files[:1])
    before, asked = left(cache), dict(encoder.asked)
    answers = [model.predict([files[call % 12]])[0] for call in range(60)]
    assert left(cache) == before
    assert encoder.asked == {**asked, "pictures": asked["pictures"] + 60}
    assert not adapted
    assert answers[:12] == model.predict(files).tolist() == ["red", "blue"] * 6
    one = np.concatenate([model.predict_proba([file]) for file in files])
    np.testing.assert_allclose(one, model.predict_proba(files), atol=1e-3)


@pytest.mark.parametrize("kind", ["few-shot", "zero-shot"])
def test_hundreds_of_answers_keep_no_memory(kind: str, files: list[Path], tmp_path: Path) -> None:
    model, cache = fitted(kind, Colours(), files, tmp_path / "cache"), tmp_path / "cache"

    def answer(calls: int) -> None:
        for call in range(calls):
            model.predict([files[call % 12]])

    answer(24)  # what is made once, and kept
    before = left(cache)
    tracemalloc.start()
    try:
        answer(200)  # free lists of the interpreter grow to what is in use at most
        gc.collect()
        first = tracemalloc.get_traced_memory()[0]
        answer(200)
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - first
    finally:
        tracemalloc.stop()
    assert grown < 200 * 150, "a file's name or a tensor that each call keeps would be more than 150 bytes"
    assert left(cache) == before


def test_rows_are_those_of_the_cache(files: list[Path], tmp_path: Path) -> None:
    from episodes.any_source import as_source
    from fewshot import embed
    from fewshot.embedding.embed_dataset import embed_few

    encoder = Colours()
    expected = embed(files, encoder, cache=tmp_path / "cache", device="cpu").features
    assert torch.equal(embed_few(as_source(files, encoder), encoder, "cpu"), expected)
    texts = ["a red owl", "blue", "a red owl"]
    assert torch.equal(
        embed_few(as_source(texts, encoder), encoder, "cpu"), embed(texts, encoder, cache=False, device="cpu").features
    )


def test_what_cannot_be_answered_is_named(files: list[Path], tmp_path: Path) -> None:
    class Broken(Colours):
        def encode_images(self, batch: Tensor) -> Tensor:
            return super().encode_images(batch) + (float("nan") if len(batch) == 1 else 0.0)

    model = fitted("few-shot", Broken(), files, tmp_path / "cache")
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"bad\.jpg.*leave it out of X"):
        model.predict([tmp_path / "bad.jpg"])
    with pytest.raises(ValueError, match=r"00\.png.*NaN or infinite"):
        model.predict(files[:1])
    with pytest.raises((OSError, ValueError), match=r"gone\.png"):
        model.predict([tmp_path / "gone.png", files[0]])
