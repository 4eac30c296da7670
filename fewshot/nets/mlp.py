"""Nets for rows that are features already: a perceptron, or nothing at all."""

from __future__ import annotations

import math

from torch import Tensor, nn

from fewshot.nets.norm import make_norm


class Flat(nn.Module):
    """The items as they are, in one row: with a head on top, a linear classifier."""

    def __init__(self, item_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.dim = math.prod(item_shape)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, *x] -> [B, D]``."""
        return x.flatten(1)


class MLP(nn.Module):
    """Layers of the given widths, each followed by an activation.

    Args:
        item_shape: shape of one item.
        widths: of the hidden layers; the last one is the number of features.
        norm: ``"batch"``, ``"task"``, ``"group"`` or ``"none"``.
        activation: ``"relu"`` or ``"tanh"``.
    """

    def __init__(
        self,
        item_shape: tuple[int, ...],
        widths: tuple[int, ...] = (256, 128),
        norm: str = "none",
        activation: str = "relu",
    ) -> None:
        super().__init__()
        if not widths or min(widths) < 1 or activation not in ("relu", "tanh"):
            raise ValueError(
                f"widths={widths}, activation={activation!r}; at least one width of at least 1, and 'relu' or 'tanh'."
            )
        layers: list[nn.Module] = [nn.Flatten()]
        before = math.prod(item_shape)
        for width in widths:
            layers += [
                nn.Linear(before, width),
                make_norm(norm, width),
                nn.ReLU() if activation == "relu" else nn.Tanh(),
            ]
            before = width
        self.layers = nn.Sequential(*layers)
        self.dim = before

    def forward(self, x: Tensor) -> Tensor:
        """``[B, *x] -> [B, D]``."""
        y: Tensor = self.layers(x)
        return y
