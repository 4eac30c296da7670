"""Small networks and pictures, for tests of fine-tuning."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from episodes import TensorSource
from fewshot import fine_tune
from fewshot.encoders import ModuleEncoder
from fewshot.nets.conv4 import Conv4
from fewshot.nets.norm import BatchNorm

CLASSES = 3


def pictures(rows: int = 30, side: int = 32, seed: int = 0) -> TensorSource:
    random = torch.Generator().manual_seed(seed)
    labels = torch.arange(rows) % CLASSES
    means = torch.rand(CLASSES, 3, side, side, generator=torch.Generator().manual_seed(9))
    pixels = 0.4 * means[labels] + 0.6 * torch.rand(rows, 3, side, side, generator=random)
    return TensorSource(pixels, labels, ["ant", "bee", "cow"])


def conv4() -> ModuleEncoder:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = Conv4((3, 32, 32), channels=8)
        for part in net.modules():  # statistics of their own, so that a changed one would show
            if isinstance(part, BatchNorm):
                part.mean.normal_(0, 0.1)
                part.variance.uniform_(0.5, 1.5)
    return ModuleEncoder(net)


def mobilenet() -> ModuleEncoder:
    import timm

    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ModuleEncoder(timm.create_model("mobilenetv2_035", num_classes=0, drop_rate=0.2).eval())


def state(encoder: Any) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in encoder.module.state_dict().items()}


def tune(encoder: Any, strategy: str, source: Any = None, **options: Any) -> Any:
    options = {"epochs": 2, "batch_size": 10, "progress": False, "cache": False, **options}
    return fine_tune(encoder, pictures() if source is None else source, strategy, **options)


def dropping() -> ModuleEncoder:
    """A network with dropout and batch norms, whose random numbers and statistics must come back too."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        blocks = [nn.Sequential(nn.Conv2d(width, 4, 3, 2), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.3))
                  for width in (3, 4, 4)]  # fmt: skip
        return ModuleEncoder(nn.Sequential(*blocks, nn.Flatten()))
