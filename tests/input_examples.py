"""Encoders of images, of texts and of both, and pictures for them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from fewshot.encoders import Encoder, Preprocess


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


def write_owl(folder: Path) -> str:
    """The name of a picture file of noise."""
    path = folder / "owl.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)).save(path)
    return str(path)
