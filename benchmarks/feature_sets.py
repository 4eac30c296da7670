"""Feature sets on which defaults are chosen and checked: pictures, sounds and texts, some with class words."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from real_data import sources
from text import SETS
from torch import Tensor

from episodes import ImageSource, TensorSource, TextSource
from fewshot import Prompts, embed, load_encoder

_MOST_CLASSES = 50
_LEAST = 20  # rows of a class: 16 shots and 4 queries
_WEIGHTS = "backbones/timm_mobilenetv2_100_same_imagenet_tf2.safetensors"


class FeatureSet(NamedTuple):
    """Rows with labels, and the vectors of the class names where they are known."""

    name: str
    source: TensorSource
    text: Tensor | None = None  # [C, D]
    is_text: bool = False


def image_sets(folder: Path, cache: str | None) -> Iterator[FeatureSet]:
    """Nine sets of pixels, sounds, MobileNetV2 and CLIP features."""
    for source in sources(folder):
        if source.name == "omniglot pixels" or source.name == "clothing":
            yield _kept(source.name, source.features.numpy(), source.labels.numpy())
    for name in ("caltech101", "oxford_flowers", "dtd"):
        with np.load(folder / "clip_vitb32" / f"{name}.npz") as file:
            rows = np.concatenate([file["test_X"], file["val_X"]]).astype(np.float32)
            yield _kept(f"{name} CLIP", rows, np.concatenate([file["test_y"], file["val_y"]]))
    with np.load(folder / "transfer" / "office_caltech10" / "mobilenetv2_1280.npz") as file:
        yield _kept("office amazon", file["amazon_X"].astype(np.float32), file["amazon_y"])
    with np.load(folder / "transfer" / "mnist_usps" / "mnist_usps_256.npz") as file:
        yield _kept("MNIST pixels", file["mnist_X"], file["mnist_y"])
    with np.load(folder / "transfer" / "spoken_digits" / "fsdd_logmel.npz") as file:
        yield _kept("spoken digits", file["X"].reshape(len(file["X"]), -1).astype(np.float32) / 255, file["y"])
    encoder = load_encoder(f"timm:mobilenetv2_100@{folder / _WEIGHTS}(pad_type='same', mean=0.5, std=0.5)")
    defects = ImageSource.from_folder(folder / "neu_surface_defects_dev100" / "images")
    yield _kept("steel defects", embed(defects, encoder, cache=cache, progress=False).features.float().numpy(),
                defects.labels.numpy())  # fmt: skip


def text_sets(folder: Path, cache: str | None) -> Iterator[FeatureSet]:
    """Intents, questions, sentiments and kinds of reviews by a sentence encoder."""
    encoder = load_encoder("text:minilm")

    def features(texts: list[str]) -> np.ndarray:
        source = TextSource(texts, torch.zeros(len(texts), dtype=torch.int64), ["text"])
        return embed(source, encoder, cache=cache, progress=False).features.float().numpy()

    def words(names: list[str]) -> Tensor:
        return Prompts(names, "{label}").encode(encoder, cache=cache)

    for name, read in SETS.items():
        train, test, names = read(folder / "text")
        texts, labels = (test if name == "banking77" else train)[:2]
        pick = np.random.Generator(np.random.Philox(0)).permutation(len(texts))[:3100]
        yield _kept(name, features([texts[row] for row in pick]), labels[pick], words(names), True)
    texts, labels, names = [], [], []
    for kind in ("amazon_cells", "imdb", "yelp"):
        lines = (folder / "transfer" / "sentiment_sentences" / f"{kind}.txt").read_text(encoding="utf-8").splitlines()
        pairs = [line.rpartition("\t") for line in lines if line.endswith(("\t0", "\t1"))]
        for text, _, answer in pairs:
            texts.append(text)
            labels.append(len(names) + int(answer))
        thing = {"amazon_cells": "phone", "imdb": "film", "yelp": "restaurant"}[kind]
        names += [f"bad {thing}", f"good {thing}"]
    yield _kept("reviews", features(texts), np.array(labels), words(names), True)


def worded_sets(folder: Path) -> Iterator[FeatureSet]:
    """CLIP features of the classes whose words are known."""
    with np.load(folder / "clip_vitb32" / "caltech101.npz") as file:
        rows = np.concatenate([file["test_X"], file["val_X"]]).astype(np.float32)
        labels = np.concatenate([file["test_y"], file["val_y"]])
        yield _worded("caltech101 CLIP, words", rows, labels, file)
    with np.load(folder / "clip_vitb32" / "imagenet.npz") as file:
        rows = np.concatenate([file[f"support{k}_X"] for k in (1, 2, 4)]).astype(np.float32)
        labels = np.concatenate([file[f"support{k}_y"] for k in (1, 2, 4)])
        yield _worded("imagenet CLIP, words", rows, labels, file)


def _worded(name: str, rows: np.ndarray, labels: np.ndarray, file: np.lib.npyio.NpzFile) -> FeatureSet:
    known = np.flatnonzero(file["text_mask"])
    place = np.full(len(file["text_mask"]), -1)
    place[known] = np.arange(len(known))
    mine = place[labels] >= 0
    text = torch.from_numpy(file["text_W"][known].astype(np.float32))
    return _kept(name, rows[mine], place[labels[mine]], text, least=7 if "imagenet" in name else _LEAST)


def _kept(
    name: str,
    rows: np.ndarray,
    labels: np.ndarray,
    text: Tensor | None = None,
    is_text: bool = False,
    least: int = _LEAST,
) -> FeatureSet:
    """The first classes that have rows enough, renumbered."""
    classes, counts = np.unique(labels, return_counts=True)
    classes = classes[counts >= least][:_MOST_CLASSES]
    mine = np.isin(labels, classes)
    numbers = np.searchsorted(classes, labels[mine])
    source = TensorSource(np.ascontiguousarray(rows[mine], dtype=np.float32), numbers, name=name)
    return FeatureSet(name, source, None if text is None else text[torch.from_numpy(classes)], is_text)
