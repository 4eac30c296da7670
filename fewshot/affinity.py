"""Nearest-neighbour graphs of each episode's rows."""

from __future__ import annotations

import torch
from torch import Tensor

from fewshot.linalg import product


def squared_distances(left: Tensor, right: Tensor) -> Tensor:
    """``|l - r|²`` of all pairs: ``[E, I, D], [E, J, D] -> [E, I, J]``, without the ``[E, I, J, D]`` tensor."""
    # Relative to a common centre, so that far-away clouds lose no digits to cancellation.
    centre = right.mean(1, keepdim=True)
    left, right = left - centre, right - centre
    squares = left.square().sum(-1, keepdim=True) + right.square().sum(-1).unsqueeze(1)
    return (squares - 2 * product(left, right.mT)).clamp(min=0)


def nearest_others(rows: Tensor, count: int) -> Tensor:
    """For each row, the indices of the `count` nearest other rows ``[E, R, count]`` (fewer where there are fewer)."""
    distances = squared_distances(rows, rows)
    distances.diagonal(dim1=1, dim2=2).fill_(torch.inf)
    count = min(count, rows.shape[1] - 1)
    return distances.topk(count, largest=False).indices


def sum_of_neighbours(values: Tensor, neighbours: Tensor) -> Tensor:
    """``W v`` for the 0/1 matrix W of a neighbour list: ``[E, R, N], [E, R, k] -> [E, R, N]``."""
    episodes, rows, count = neighbours.shape
    classes = values.shape[-1]
    index = neighbours.reshape(episodes, rows * count, 1).expand(-1, -1, classes)
    return values.gather(1, index).view(episodes, rows, count, classes).sum(2)
