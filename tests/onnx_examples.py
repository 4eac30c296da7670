"""Small networks for the tests of ONNX Runtime, each really exported once."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from fewshot.encoders import ModuleEncoder, Preprocess
from fewshot.runtimes import onnx_runtime

exported: dict[Any, bytes] = {}  # what the exporter has written for these tests, by weights and shapes


TEXTS = ["a red circle", "blue", "a photo of a small dotted heart", "a b c d e f g", "ten"]


class Plain(nn.Module):
    """A small network of convolutions without a log, so that only its values count."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.body = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 5, 3))

    def forward(self, images: Tensor) -> Tensor:
        return self.body(images).mean((2, 3))  # type: ignore[no-any-return]


def plain(seed: int = 0) -> ModuleEncoder:
    return ModuleEncoder(Plain(seed).eval(), Preprocess(16, 18))


def as_in_a_new_process() -> None:
    onnx_runtime._sessions.clear()
