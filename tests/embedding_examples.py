"""Small encoders, and photographs, for tests of embedding."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from fewshot.encoders import Encoder, ModuleEncoder, Preprocess


class Log:
    """What a network was given; equal to any other by value, so that it does not change the network's identity."""

    def __init__(self) -> None:
        self.local = threading.local()
        self.local.batches = []

    @property
    def batches(self) -> list[int]:
        return self.local.batches  # type: ignore[no-any-return]


class Net(nn.Module):
    """A small network that counts the images it has seen."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.body = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 5, 3))
        self.log = Log()

    @property
    def batches(self) -> list[int]:
        return self.log.batches

    def forward(self, images: Tensor) -> Tensor:
        self.batches.append(len(images))
        return self.body(images)  # type: ignore[no-any-return]

    @property
    def seen(self) -> int:
        return sum(size for size in self.batches if size != 4)  # batches of four are the canaries


class Reader(Encoder):
    """A text encoder: letter counts, and a record of what it was given."""

    name, dim = "reader", 26

    def __init__(self) -> None:
        self.batches: list[list[str]] = []

    @property
    def fingerprint(self) -> dict[str, Any]:
        return {"family": "reader"}

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        self.batches.append(list(texts))
        return torch.tensor([[float(text.count(chr(97 + i))) for i in range(26)] for text in texts])


def encoder(seed: int = 0, **changes: Any) -> ModuleEncoder:
    """A small network with a transform."""
    return ModuleEncoder(Net(seed), **{"transform": Preprocess(16, 18), **changes})


def write_photographs(folder: Path) -> list[Path]:
    """Eleven PNG files of noise, of different sizes."""
    generator = np.random.default_rng(0)
    paths = []
    for number in range(11):
        noise = generator.integers(0, 256, (20 + number, 40 - number, 3), dtype=np.uint8)
        paths.append(folder / f"{number:02}.png")
        Image.fromarray(noise).save(paths[-1])
    return paths
