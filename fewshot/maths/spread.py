"""How large the features of an episode are: what hyper-parameters without a unit are relative to."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from episodes.episode import Support
from fewshot.maths.linalg import product, squared_lengths

AUTO = "auto"  # a hyper-parameter that is a fixed number for rescaled features


class Spread(NamedTuple):
    """Where rows lie, and how far they are from there."""

    mean: Tensor  # [E, 1, D]
    root: Tensor  # [E, 1, 1], root mean square distance from the mean; 1 where all rows are the same

    def rescale(self, rows: Tensor) -> Tensor:
        """``(x - mean) / root`` ``[E, R, D]``: of mean square 1, if these are the rows that were measured."""
        return (rows - self.mean) / self.root

    def where(self, chosen: bool) -> Spread:
        """Itself, or what leaves rows as they are."""
        return self if chosen else Spread(torch.zeros_like(self.mean), torch.ones_like(self.root))


def spread(rows: Tensor, shares: Tensor) -> Spread:
    """``m = mean_s x_s`` and ``sqrt(Σ_s |x_s - m|² / (S - 1))``.

    Args:
        rows: ``[E, S, D]``.
        shares: how often each is there ``[E, S]``: 1, 0 for padding, or a weight.
    """
    shares = shares.to(rows.dtype).unsqueeze(-1)  # [E, S, 1]
    rows = torch.where(shares > 0, rows, torch.zeros_like(rows))
    count = shares.sum(1, keepdim=True)  # [E, 1, 1]
    mean = product(shares.mT, rows) / torch.where(count > 0, count, torch.ones_like(count))  # [E, 1, D]
    square = (shares.squeeze(-1) * squared_lengths(rows - mean)).sum(1).view(-1, 1, 1) / (count - 1).clamp(min=1)
    # Equal rows are apart by rounding only, and have no size to be relative to.
    least = (torch.finfo(rows.dtype).eps * mean.abs()).square().sum(-1, keepdim=True)
    return Spread(mean, torch.where(square > 16 * least, square, torch.ones_like(square)).sqrt())


def spread_of_support(episode: Support) -> Spread:
    """That of an episode's support; padding rows do not count, and weights do."""
    known = episode.labels >= 0
    return spread(episode.support, known if episode.weights is None else known * episode.weights)


def check_auto(name: str, value: Any) -> None:
    """Refuse a hyper-parameter that is neither "auto" nor positive and finite.

    Raises:
        ValueError: it is neither.
    """
    if value != AUTO and (isinstance(value, str) or not 0 < value < float("inf")):
        raise ValueError(f"{name}={value!r}; it must be 'auto' (relative to the features) or positive and finite.")
