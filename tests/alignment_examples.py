"""Two domains, and a small network that is tuned on one while it is aligned with the other."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from episodes import TensorSource
from fewshot import fine_tune
from fewshot.encoders import ModuleEncoder
from fewshot.nets import make_net

CLASSES = 3


class Hidden:
    """In front of a source: its labels must not be read."""

    @property
    def labels(self) -> Tensor:
        raise AssertionError("target labels were read")

    @labels.setter
    def labels(self, value: Tensor) -> None:
        pass


class Secret(Hidden, TensorSource):  # type: ignore[misc]
    """Rows whose labels must not be read."""


def rows(count: int = 24, shift: float = 0.0, seed: int = 0, d: int = 5) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % CLASSES
    means = 2 * torch.randn(CLASSES, d, generator=torch.Generator().manual_seed(9))
    return means[labels] + torch.randn(count, d, generator=g) + shift * (torch.arange(d) < 2), labels


def perceptron(norm: str = "none") -> ModuleEncoder:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ModuleEncoder(make_net(f"mlp(widths=(8, 4), norm={norm!r}, activation='tanh')", (5,)))


def tune(alignment: Any, target: Any = None, encoder: Any = None, strategy: str = "full", **options: Any) -> Any:
    options = {"epochs": 2, "batch_size": 8, "cache": False, "progress": False, **options}
    target = Secret(*rows(20, 2.0, 1)) if target is None else target
    return fine_tune(
        perceptron() if encoder is None else encoder, TensorSource(*rows()), strategy, target=target,
        alignment=alignment, **options,
    )  # fmt: skip


def pair() -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(0)
    return (torch.randn(6, 4, generator=g, dtype=torch.float64).requires_grad_(),
            (1 + torch.randn(9, 4, generator=g, dtype=torch.float64)).requires_grad_())  # fmt: skip
