"""`Method`: what a network learns from pictures without labels."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from fewshot.registry import spec_string


class Method(nn.Module):
    """A task whose answers need no labels; its own layers are dropped afterwards.

    Class attributes:
        name: in spec strings.
        augment: how pictures are changed where nothing is said; None: they are not.
        least: rows that a batch needs.
    """

    name: ClassVar[str] = ""
    augment: ClassVar[str | None] = None
    least: ClassVar[int] = 2

    def begin(self, features: int, picture: tuple[int, ...]) -> None:
        """Make the layers on top of so many features; weights come from torch's global generator.

        Args:
            features: D.
            picture: shape of what the network is given.

        Raises:
            ValueError: the method cannot be used on such rows.
        """

    def forward(
        self, network: Callable[[Tensor], Tensor], pictures: Tensor, change: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Loss of a batch, and the share of rows that are answered correctly.

        Args:
            network: pictures ``[B, *x]`` -> features ``[B, D]``.
            pictures: a batch.
            change: draws a changed copy of it.
        """
        raise NotImplementedError

    def __repr__(self) -> str:
        return spec_string(self.name, self)


def perceptron(*widths: int, last: str = "norm") -> nn.Sequential:
    """Linear layers, with batch normalisation and ReLU between them.

    Args:
        widths: of input, hidden layers and output.
        last: what the output has: ``"norm"``, batch normalisation without scale and shift; or ``"plain"``.
    """
    layers: list[nn.Module] = []
    for number, (before, after) in enumerate(pairwise(widths)):
        end = number == len(widths) - 2
        layers.append(nn.Linear(before, after, bias=end and last == "plain"))
        if not end:
            layers += [nn.BatchNorm1d(after), nn.ReLU()]
        elif last == "norm":
            layers.append(nn.BatchNorm1d(after, affine=False))
    return nn.Sequential(*layers)


def matched_views(first: Tensor, second: Tensor) -> Tensor:
    """Share of rows ``[B, D]`` whose nearest by cosine among the others' is the other view of the same row."""
    with torch.no_grad():
        one, other = (nn.functional.normalize(part.float(), dim=1) for part in (first, second))
        nearest: Any = (one @ other.T).argmax(1)
        return (nearest == torch.arange(len(one), device=one.device)).float().mean()
