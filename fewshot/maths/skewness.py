"""Whether a power makes values more symmetric or less."""

from __future__ import annotations

import torch
from torch import Tensor


def signed_power(rows: Tensor, power: float) -> Tensor:
    """``sign(x) |x|^power``."""
    return rows.abs().pow(power) * rows.sign()


def skewness(rows: Tensor, known: Tensor) -> Tensor:
    """Third central moment of all values over the 3/2 power of the second ``[E]``; 0 where all values are the same.

    Args:
        rows: ``[E, S, D]``.
        known: False for padding ``[E, S]``.
    """
    rows = rows.to(torch.float32 if rows.device.type == "mps" else torch.float64)
    share = known.to(rows.dtype).unsqueeze(-1) / (known.sum(1).clamp(min=1) * rows.shape[-1]).view(-1, 1, 1)
    rows = torch.where(known.unsqueeze(-1), rows, 0)
    mean = (share * rows).sum((1, 2), keepdim=True)  # [E, 1, 1]
    apart = rows - mean
    square = (share * apart.square()).sum((1, 2))  # [E]
    cube = (share * apart.pow(3)).sum((1, 2))
    some = square > (torch.finfo(rows.dtype).eps * mean.flatten()).square()
    return torch.where(some, cube / torch.where(some, square, 1).pow(1.5), 0)


def skewness_added(rows: Tensor, power: float, known: Tensor | None = None) -> Tensor:
    """By how much the absolute skewness of ``sign(x) |x|^power`` exceeds that of x ``[E]``.

    Args:
        rows: x ``[E, S, D]``.
        power: greater than 0.
        known: False for padding ``[E, S]``; by default none is.
    """
    known = torch.ones_like(rows[..., 0], dtype=torch.bool) if known is None else known
    return skewness(signed_power(rows, power), known).abs() - skewness(rows, known).abs()
