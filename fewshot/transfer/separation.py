"""How far features keep classes apart: H-score with shrinkage, and the purity of neighbourhoods."""

from __future__ import annotations

from typing import Any

import torch

from fewshot.transfer.rows import checked_labels, checked_rows

_PAIRS = 2**24  # similarities held at a time


def h_score(features: Any, labels: Any) -> float:
    """``tr(cov(f)^-1 cov(E[f | y]))`` with the covariance of Ledoit and Wolf; higher is better.

    Without shrinkage it equals C - 1 wherever D >= M, for random features too, which is why that is not offered. It
    still grows with D: compare features of like width, or use `logme`.

    Args:
        features: ``[M, D]``.
        labels: ``[M]``.

    Raises:
        ValueError: shapes disagree, values are not finite, or there is only one class.

    Reference: Bao et al., "An information-theoretic approach to transferability in task transfer learning", ICIP 2019;
    Ibrahim, Ponomareva, Mazumder, "Newer is not always better: rethinking transferability metrics, their peculiarities,
    stability and performance", 2021, arXiv:2110.06893.
    """
    from sklearn.covariance import ledoit_wolf

    rows = checked_rows(features)
    numbers = checked_labels(labels, len(rows)).to(rows.device)
    one_hot = torch.nn.functional.one_hot(numbers).to(rows)  # [M, C]
    centred = rows - rows.mean(0)
    means = one_hot.mT @ centred / one_hot.sum(0)[:, None]  # [C, D]
    covariance, shrinkage = ledoit_wolf(centred.cpu().numpy(), assume_centered=True)
    between = means.mT @ (means * one_hot.mean(0)[:, None])  # [D, D]
    solved = torch.linalg.solve(torch.from_numpy(covariance).to(rows), (1 - shrinkage) * between)
    return float(solved.trace())


def neighbour_purity(features: Any, labels: Any, neighbours: int = 5) -> float:
    """Share of the nearest rows (by cosine, itself left out) that are of the same class, in 0..1.

    Args:
        features: ``[M, D]``.
        labels: ``[M]``.
        neighbours: of each row.

    Raises:
        ValueError: as many neighbours as rows, or what `h_score` refuses.
    """
    rows = checked_rows(features)
    if not 1 <= neighbours < len(rows):
        raise ValueError(
            f"neighbours={neighbours}; it must be from 1 to {len(rows) - 1}, one less than there are rows."
        )
    numbers = checked_labels(labels, len(rows)).to(rows.device)
    unit = torch.nn.functional.normalize(rows, dim=1)
    same = torch.zeros((), dtype=torch.float64, device=rows.device)
    for part in torch.arange(len(rows), device=rows.device).split(max(1, _PAIRS // len(rows))):
        near = unit[part] @ unit.mT
        near[torch.arange(len(part), device=rows.device), part] = -torch.inf
        found = numbers[near.topk(neighbours, dim=1).indices]  # [m, neighbours]
        same += (found == numbers[part][:, None]).double().sum()
    return float(same / (len(rows) * neighbours))
