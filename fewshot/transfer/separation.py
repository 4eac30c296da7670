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
    from sklearn.covariance import ledoit_wolf_shrinkage

    rows = checked_rows(features)
    numbers = checked_labels(labels, len(rows)).to(rows.device)
    one_hot = torch.nn.functional.one_hot(numbers).to(rows)  # [M, C]
    centred = rows - rows.mean(0)
    means = one_hot.mT @ centred / one_hot.sum(0)[:, None]  # [C, D]
    count, width = rows.shape
    shrinkage = float(ledoit_wolf_shrinkage(centred.cpu().numpy(), assume_centered=True))
    ridge = shrinkage * centred.square().sum() / (count * width)
    if count < width and ridge > 0:  # by the products of rows: (S + r I)^-1 m = (m - X^T (M r I + X X^T)^-1 X m) / r
        scale = (1 - shrinkage) / count
        gram = centred @ centred.mT * scale + ridge * torch.eye(count).to(rows)  # [M, M]
        solved = (means.mT - centred.mT @ torch.linalg.solve(gram, centred @ means.mT) * scale) / ridge  # [D, C]
    else:
        covariance = (1 - shrinkage) * centred.mT @ centred / count + ridge * torch.eye(width).to(rows)
        solved = torch.linalg.solve(covariance, means.mT)
    return float((1 - shrinkage) * ((means * solved.mT).sum(1) * one_hot.mean(0)).sum())


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
