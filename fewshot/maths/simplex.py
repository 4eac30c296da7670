"""Projection onto scaled simplices."""

from __future__ import annotations

import torch
from torch import Tensor

_FEW = 32


def onto_simplex(values: Tensor, total: Tensor | float = 1.0) -> Tensor:
    """The nearest point of ``{b >= 0, Σ b = total}`` to each row ``[..., N]``; ``-inf`` stays at 0.

    It is ``max(v - τ, 0)``; of few numbers τ is found by sorting them, of many by Newton's method on
    ``Σ max(v - τ, 0) = total``, which comes from below, never passes the root, and ends on it.
    """
    # A constant on all values moves no point: relative to the largest, no total is lost beside large ones.
    largest = values.amax(-1, keepdim=True)
    values = values - torch.where(largest.isfinite(), largest, torch.zeros_like(largest))
    if values.shape[-1] > _FEW:
        return (values - _threshold(values, total)).clamp(min=0)
    ordered = values.sort(-1, descending=True).values
    count = torch.arange(1, values.shape[-1] + 1, device=values.device, dtype=values.dtype)
    excess = (ordered.clamp(min=-1e30).cumsum(-1) - total) / count
    support = ((ordered - excess) > 0).sum(-1, keepdim=True).clamp(min=1)
    return (values - excess.gather(-1, support - 1)).clamp(min=0)


def _threshold(values: Tensor, total: Tensor | float) -> Tensor:
    finite = values.clamp(min=-1e30)
    level = finite.amax(-1, keepdim=True) - total
    for _ in range(values.shape[-1]):
        above = (finite > level).to(values.dtype)
        count = above.sum(-1, keepdim=True).clamp(min=1)
        following = torch.maximum(level, ((finite * above).sum(-1, keepdim=True) - total) / count)
        if torch.equal(following, level):
            break
        level = following
    return level
