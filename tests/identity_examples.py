"""Things of different identity, for the tests of identity; also imported by other processes."""

from __future__ import annotations

import torch
from torch import nn

FACTOR = 2.0
plus, minus = (lambda x: x + 1), (lambda x: x - 1)


def helper(x: float) -> float:
    return x * 3


def scaled(x: float) -> float:
    return x * FACTOR


def helped(x: float) -> float:
    return helper(x) + 1


def holding(factor: float):  # type: ignore[no-untyped-def]
    def inner(x: float) -> float:
        return x * factor

    return inner


class Slotted:
    __slots__ = ("mean",)

    def __init__(self, mean: float) -> None:
        self.mean = mean

    def __call__(self, x: float) -> float:
        return x - self.mean


class Both(Slotted):
    """Slots of the base, and a dictionary of its own."""

    def __init__(self, mean: float, scale: float) -> None:
        super().__init__(mean)
        self.scale = scale


class Net(nn.Module):
    """A layer with a setting that nothing prints."""

    def __init__(self, mode: str = "mean") -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.layer = nn.Linear(4, 3)
        self.mode = mode
        self.register_buffer("shift", torch.zeros(3), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return getattr(self.layer(x) + self.shift, self.mode)(-1)
