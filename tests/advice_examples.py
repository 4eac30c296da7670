"""Encoders whose worth is known, and pictures to try them on."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from episodes import TensorSource
from fewshot.encoders import Encoder, ModuleEncoder
from fewshot.nets.conv4 import Conv4


def pictures(rows: int = 30, classes: int = 3, noise: float = 0.3, seed: int = 0) -> TensorSource:
    """Pictures whose class is the colour of their left half."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.arange(rows) % classes
    pixels = 0.5 + noise * torch.randn(rows, 3, 8, 8, generator=random)
    pixels[torch.arange(rows), labels % 3, :, :4] += 0.25
    return TensorSource(pixels.clamp(0, 1), labels, [f"class {c}" for c in range(classes)], name="toy")


class Halves(nn.Module):
    """Mean colour of the left half: all that matters, or of the right half, which is noise."""

    def __init__(self, left: bool) -> None:
        super().__init__()
        self.left = left
        self.scale = nn.Linear(3, 3)
        with torch.no_grad():
            self.scale.weight.copy_(torch.eye(3))
            self.scale.bias.zero_()

    def forward(self, batch: Tensor) -> Tensor:
        half = batch[..., :4] if self.left else batch[..., 4:]
        rows: Tensor = self.scale(half.mean((2, 3)))
        return rows


def halves(left: bool) -> Encoder:
    return ModuleEncoder(Halves(left).eval(), name="left" if left else "right", dim=3)


def conv4() -> ModuleEncoder:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ModuleEncoder(Conv4((3, 8, 8), channels=4, blocks=2).eval(), name="conv4")
