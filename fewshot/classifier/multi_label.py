"""Each class for itself: one two-way task per class, the class against words that name nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from episodes.episode import Support

NOT, HOLDS = 0, 1  # the two ways


def as_indicators(y: Any) -> np.ndarray | None:
    """A matrix of which classes hold ``[n, C]``, or None where `y` is one label per row.

    Raises:
        ValueError: a matrix of other numbers than 0 and 1.
    """
    matrix = np.asarray(y)
    if matrix.ndim != 2 or matrix.shape[1] < 2:
        return None
    if not np.isin(matrix, (0, 1)).all():
        raise ValueError("y holds other numbers than 0 and 1; give which classes hold [n, C], or one label per row.")
    return matrix.astype(np.int64)


def known_labels(indicators: np.ndarray | None, places: np.ndarray | None, classes: int) -> Tensor:
    """The way of each example in each task ``[C, S]``: 1 holds, 0 does not, -1 unknown.

    Where `y` names one class per row, whether others hold as well is unknown.
    """
    if indicators is not None:
        return torch.from_numpy(indicators.T.copy())
    if places is None:
        return torch.zeros(classes, 0, dtype=torch.int64)
    holds = torch.arange(classes).unsqueeze(1) == torch.from_numpy(places)
    return torch.where(holds, HOLDS, -1)


def one_against_nothing(support: Tensor, labels: Tensor, text: Tensor, nothing: Tensor) -> Support:
    """C two-way tasks as one batch.

    Args:
        support: examples ``[S, D]``.
        labels: from `known_labels` ``[C, S]``.
        text: class vectors ``[C, D]`` or ``[C, T, D]``.
        nothing: vector of words that name nothing ``[D]``.
    """
    classes = len(text)
    rows = support.expand(classes, *support.shape)
    other = nothing.expand_as(text)
    return Support(
        rows,
        labels.to(rows.device),
        way=2,
        text=torch.stack([other, text], dim=1).to(rows),  # [C, 2, ...]
        ids=torch.arange(classes, device=rows.device),
    )


def margins(logits: Tensor) -> Tensor:
    """By how much each class beats nothing ``[n, C]``, of logits ``[n, C, 2]``."""
    return logits[..., HOLDS] - logits[..., NOT]
