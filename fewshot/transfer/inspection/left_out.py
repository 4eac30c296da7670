"""Linear classifiers scored on rows that were left out, all folds from one decomposition."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

_PENALTIES = np.logspace(-4, 4, 17)  # times the mean squared length of the rows


def left_out_ridge(rows: Tensor, labels: Tensor, folds: Tensor) -> Tensor:
    """Ridge regression's scores of each row, fitted without its fold ``[M, C]``.

    With ``H = X (X^T X + l I)^-1 X^T`` of centred rows plus 1 / M, the errors of the rows F of a fold that is left out
    are ``(I - H_FF)^-1 (Y - H Y)_F``, so one decomposition serves all folds. The penalty l is the one of 17 with the
    smallest generalised cross-validation error over all rows.

    Args:
        rows: ``[M, D]``, columns of mean 0.
        labels: ``[M]``.
        folds: ``[M]``.

    Reference: Golub, Heath, Wahba, "Generalized cross-validation as a method for choosing a good ridge parameter",
    Technometrics 1979.
    """
    target = F.one_hot(labels).double()  # [M, C]
    left, squares = left_vectors(rows)  # [M, R], [R]
    if not len(squares):
        return left_out_shares(target, folds)
    scale = squares.sum() / len(rows)
    share = target.mean(0)
    projected = left.mT @ (target - share)  # [R, C]
    best, chosen = float("inf"), None
    for penalty in _PENALTIES:
        shrink = squares / (squares + penalty * scale)  # [R]
        residual = target - share - left @ (shrink[:, None] * projected)
        freedom = 1 - (shrink.sum() + 1) / len(rows)
        error = float(residual.square().mean() / freedom.clamp(min=1e-9).square())
        if error < best:
            best, chosen = error, shrink
    assert chosen is not None
    residual = target - share - left @ (chosen[:, None] * projected)
    scores = torch.empty_like(target)
    for fold in folds.unique().tolist():
        part = (folds == fold).nonzero().squeeze(1)
        hat = (left[part] * chosen) @ left[part].mT + 1 / len(rows)  # [F, F]
        errors = torch.linalg.solve(torch.eye(len(part), dtype=rows.dtype) - hat, residual[part])
        scores[part] = target[part] - errors
    return scores


def left_vectors(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Left singular vectors of rows ``[M, R]`` and squared singular values ``[R]``, largest first, without zeros."""
    wide = rows.shape[1] > len(rows)
    squares, vectors = torch.linalg.eigh(rows @ rows.mT if wide else rows.mT @ rows)
    squares, vectors = squares.flip(0), vectors.flip(1)
    kept = squares > max(float(squares[0]), 1e-300) * 1e-12
    squares, vectors = squares[kept], vectors[:, kept]
    return vectors if wide else rows @ vectors / squares.sqrt(), squares


def left_out_shares(target: Tensor, folds: Tensor) -> Tensor:
    """Shares of the classes in the other folds ``[M, C]``: all that rows without any variance say."""
    scores = torch.empty_like(target)
    for fold in folds.unique().tolist():
        scores[folds == fold] = target[folds != fold].mean(0)
    return scores


def left_out_nearest_mean(rows: Tensor, labels: Tensor, folds: Tensor) -> Tensor:
    """The class whose mean over the other folds is nearest ``[M]``."""
    target = F.one_hot(labels).double()
    answers = torch.empty_like(labels)
    for fold in folds.unique().tolist():
        outside, inside = folds != fold, folds == fold
        counts = target[outside].sum(0)
        means = target[outside].mT @ rows[outside] / counts.clamp(min=1)[:, None]  # [C, D]
        distances = torch.cdist(rows[inside], means)
        answers[inside] = distances.masked_fill(counts == 0, torch.inf).argmin(1)
    return answers
