"""Projection onto scaled simplices."""

from __future__ import annotations

import torch
from torch import Tensor


def onto_simplex(values: Tensor, total: Tensor | float = 1.0) -> Tensor:
    """The nearest point of ``{b >= 0, Σ b = total}`` to each row ``[..., N]``; ``-inf`` stays at 0."""
    # A constant on all values moves no point: relative to the largest, no total is lost beside large ones.
    largest = values.amax(-1, keepdim=True)
    values = values - torch.where(largest.isfinite(), largest, torch.zeros_like(largest))
    ordered = values.sort(-1, descending=True).values
    count = torch.arange(1, values.shape[-1] + 1, device=values.device, dtype=values.dtype)
    excess = (ordered.clamp(min=-1e30).cumsum(-1) - total) / count
    support = ((ordered - excess) > 0).sum(-1, keepdim=True).clamp(min=1)
    return (values - excess.gather(-1, support - 1)).clamp(min=0)
