"""Nearest-neighbour graphs of each episode's rows."""

from __future__ import annotations

import torch
from torch import Tensor

from fewshot.maths.linalg import product

_FEW = 4


def squared_distances(left: Tensor, right: Tensor) -> Tensor:
    """``|l - r|²`` of all pairs: ``[E, I, D], [E, J, D] -> [E, I, J]``, without the ``[E, I, J, D]`` tensor."""
    # Relative to a common centre, so that far-away clouds lose no digits to cancellation.
    same, centre = left is right, right.mean(1, keepdim=True)
    right = right - centre
    left = right if same else left - centre
    length = right.square().sum(-1)  # [E, J]
    squares = (length if same else left.square().sum(-1)).unsqueeze(-1) + length.unsqueeze(1)
    return (squares - 2 * product(left, right.mT)).clamp(min=0)


def nearest_others(rows: Tensor, count: int) -> Tensor:
    """For each row, the indices of the `count` nearest other rows ``[E, R, count]`` (fewer where there are fewer)."""
    distances = squared_distances(rows, rows)
    distances.diagonal(dim1=1, dim2=2).fill_(torch.inf)
    count = min(count, rows.shape[1] - 1)
    if count > _FEW:
        return distances.topk(count, largest=False).indices
    found = []  # a few minima are faster than a partial sort
    for _ in range(count):
        found.append(distances.argmin(-1, keepdim=True))
        distances.scatter_(-1, found[-1], torch.inf)
    return torch.cat([distances.new_zeros(*rows.shape[:2], 0, dtype=torch.long), *found], -1)


def adjacency(neighbours: Tensor, dtype: torch.dtype) -> Tensor:
    """The 0/1 matrix W of a neighbour list, a row for each row: ``[E, R, k] -> [E, R, R]``."""
    episodes, rows, _ = neighbours.shape
    return torch.zeros(episodes, rows, rows, dtype=dtype, device=neighbours.device).scatter_(-1, neighbours, 1.0)
