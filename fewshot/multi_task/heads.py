"""`TaskHeads`: one linear head per task on the same features."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class TaskHeads(nn.Module):
    """Linear heads, which a `Tuning` holds in the place of its one head.

    Args:
        heads: features ``[B, D]`` -> logits ``[B, C_t]`` of each task.
    """

    def __init__(self, heads: Sequence[nn.Linear]) -> None:
        super().__init__()
        self.heads = nn.ModuleList(heads)

    def forward(self, features: Tensor) -> Tensor:
        """The features themselves: which head a row belongs to is for the objective to say."""
        return features

    def logits(self, task: int, features: Tensor) -> Tensor:
        """Logits of a task ``[B, D] -> [B, C_t]``."""
        found: Tensor = self.heads[task](features)
        return found

    def stacked(self) -> tuple[Tensor, Tensor]:
        """Weights and biases of all heads, one below the other: ``[sum C_t, D]`` and ``[sum C_t]``."""
        parts = [(head.weight, head.bias) for head in self.heads if isinstance(head, nn.Linear)]
        return torch.cat([weight for weight, _ in parts]).detach(), torch.cat([bias for _, bias in parts]).detach()
