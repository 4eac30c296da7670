"""Barlow Twins: features of two views agree, each feature for itself."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from fewshot.unsupervised.method import Method, matched_views, perceptron


class BarlowTwins(Method):
    """``loss = sum_i (1 - C_ii)² + weight sum_{i != j} C_ij²``, C the correlations of two views' projections.

    Args:
        dim: of the projections.
        weight: of what is not on the diagonal.

    Reference: Zbontar, Jing, Misra, LeCun, Deny, "Barlow Twins: self-supervised learning via redundancy reduction",
    ICML 2021, arXiv:2103.03230.
    """

    name, augment = "barlow-twins", "crop(0.4)"

    def __init__(self, dim: int = 256, weight: float = 0.005) -> None:
        super().__init__()
        if dim < 2 or weight < 0:
            raise ValueError(f"barlow-twins(dim={dim!r}, weight={weight!r}); at least 2, and not negative.")
        self.dim, self.weight = dim, float(weight)

    def begin(self, features: int, picture: tuple[int, ...]) -> None:
        """Projector of three layers."""
        self.projector = perceptron(features, self.dim, self.dim, self.dim, last="plain")

    def forward(
        self, network: Callable[[Tensor], Tensor], pictures: Tensor, change: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Loss, and the share of rows that find their other view."""
        first, second = (self.projector(network(change(pictures))) for _ in range(2))
        return barlow_loss(first, second, self.weight), matched_views(first, second)


def barlow_loss(first: Tensor, second: Tensor, weight: float) -> Tensor:
    """The loss of two views' projections ``[B, D]``.

    Args:
        first: of one view.
        second: of the other.
        weight: of what is not on the diagonal.
    """
    one, other = (_standardised(part.float()) for part in (first, second))
    correlation = one.T @ other / len(one)  # [D, D]
    diagonal = correlation.diagonal()
    rest = correlation.square().sum() - diagonal.square().sum()
    return (1 - diagonal).square().sum() + weight * rest


def _standardised(rows: Tensor) -> Tensor:
    centred = rows - rows.mean(0)
    return centred / centred.square().mean(0).add(torch.finfo(rows.dtype).eps).sqrt()
