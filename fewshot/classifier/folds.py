"""Which fitted examples are held out together, to learn how far probabilities can be trusted."""

from __future__ import annotations

import torch
from torch import Tensor

_MOST_FOLDS = 10
_ENOUGH = 200  # held-out rows that tell one temperature well
_AT_LEAST = 64


def held_out_folds(labels: Tensor, most_folds: int = _MOST_FOLDS, *, whole: bool = False) -> list[Tensor]:
    """Rows to hold out in each fold, as few folds as tell enough: one row of every class at a time.

    Classes lose rows together: a fold that takes rows of one class alone would make that class rarer among
    the rows that are left, and a learner with a free intercept would never answer it. With more than 10
    examples of a class, a fold takes a tenth of them. An example that is alone in its class stays.

    Args:
        labels: class of each example ``[S]``.
        most_folds: 2 holds out half of the examples at a time.
        whole: every example is held out once, and not only as many as tell enough.

    Returns:
        Row numbers ``[R]`` of each fold; none where no class has two examples.
    """
    order = labels.argsort(stable=True)
    shots = labels.bincount()
    first = shots.cumsum(0) - shots
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(labels), device=labels.device) - first[labels[order]]
    able = shots[labels] > 1  # [S]
    if not able.any():
        return []
    fold = rank % min(int(shots.max()), most_folds)  # [S]
    found: list[Tensor] = []
    for number in range(int(fold.max()) + 1):
        found.append((able & (fold == number)).nonzero().squeeze(-1))
        if not whole and sum(map(len, found)) >= _ENOUGH:
            break
    return [rows for rows in found if len(rows)]


def some_rows(count: int, most: int) -> Tensor:
    """Numbers of so many of the rows, at least 64, spread over all at random; the same whenever it is called."""
    if count <= max(most, _AT_LEAST):
        return torch.arange(count)
    chosen = torch.randperm(count, generator=torch.Generator().manual_seed(0))[: max(most, _AT_LEAST)]
    return chosen.sort().values
