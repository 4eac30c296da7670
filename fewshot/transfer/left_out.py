"""Accuracy of simple classifiers on rows that they did not see, in closed form."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fewshot.transfer.rows import checked_labels, checked_rows

_PENALTIES = torch.logspace(-4, 2, 13, dtype=torch.float64)  # times the mean squared length of the centred rows


def left_out_mean(features: Any, labels: Any) -> float:
    """Share of rows that lie nearest to the mean of their own class, which is taken without them, in 0..1.

    Rows are moved by their mean and scaled to unit length first. The mean of n rows without row i lies
    ``n / (n - 1)`` times as far from it. Rows that are alone in their class are not counted.

    Args:
        features: ``[M, D]``.
        labels: ``[M]``.

    Raises:
        ValueError: shapes disagree, values are not finite, or no class has two rows.
    """
    rows = checked_rows(features)
    numbers = checked_labels(labels, len(rows)).to(rows.device)
    counts = numbers.bincount()
    counted = counts[numbers] > 1
    if not counted.any():
        raise ValueError(f"each of the {len(counts)} classes has one row; leaving it out leaves nothing of its class.")
    unit = torch.nn.functional.normalize(rows - rows.mean(0), dim=1)
    one_hot = torch.nn.functional.one_hot(numbers).to(unit)
    means = one_hot.mT @ unit / counts[:, None]  # [C, D]
    squares = torch.cdist(unit, means).square()  # [M, C]
    size = counts[numbers].to(unit)
    own = squares.gather(1, numbers[:, None]).squeeze(1) * (size / (size - 1)).square()
    squares.scatter_(1, numbers[:, None], own[:, None])
    return float((squares.argmin(1) == numbers)[counted].double().mean())


def left_out_ridge(features: Any, labels: Any) -> float:
    """Share of rows that ridge regression on one-hot labels, fitted without them, classifies right, in 0..1.

    With ``H = X (X^T X + a I)^-1 X^T`` on centred rows the residual of row i left out is ``e_i / (1 - H_ii - 1/M)``
    (Allen's PRESS), so that one decomposition serves all rows and penalties. The penalty a is the one of 13 with the
    smallest sum of their squares.

    Args:
        features: ``[M, D]``.
        labels: ``[M]``.

    Raises:
        ValueError: shapes disagree, values are not finite, or there is only one class.

    Reference: Allen, "The relationship between variable selection and data augmentation and a method for prediction",
    Technometrics 1974.
    """
    rows = checked_rows(features)
    numbers = checked_labels(labels, len(rows)).to(rows.device)
    one_hot = torch.nn.functional.one_hot(numbers).to(rows)  # [M, C]
    centred = rows - rows.mean(0)
    left, values, _ = torch.linalg.svd(centred, full_matrices=False)
    squares, target = values.square(), one_hot - one_hot.mean(0)
    scale = (squares.sum() / len(rows)).clamp(min=torch.finfo(rows.dtype).tiny)
    best: tuple[float, Tensor] | None = None
    for penalty in _PENALTIES.to(rows) * scale:
        kept = squares / (squares + penalty)  # [k]
        fitted = left @ (kept[:, None] * (left.mT @ target))  # [M, C]
        own = (left.square() @ kept + 1 / len(rows)).clamp(max=1 - 1e-9)  # [M]
        residual = (target - fitted) / (1 - own)[:, None]
        error = float(residual.square().sum())
        if best is None or error < best[0]:
            best = error, one_hot - residual
    assert best is not None
    return float((best[1].argmax(1) == numbers).double().mean())
