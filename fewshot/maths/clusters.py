"""How likely unlabelled rows belong to each class, where a class has so few examples that its scatter is not known."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

_SHARES = (0.02, 0.06, 0.12, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
_PRIOR = (2.0, 3.0)
_WEIGHT = 0.3
_DIRECTIONS = 16  # in which classes differ most; more of them fit noise
_FOLDS, _STEPS = 3, 10
_NUMBERS = 2**22  # of one step


def likely_classes(means: Tensor, counts: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Probabilities of the classes for unlabelled rows, by two models ``[U, N]`` that err in opposite ways.

    In the directions in which class means differ, rows u are brought to covariance I. Then ``u = m_n + e`` with class
    centres ``m_n ~ N(0, γ I)`` and scatter ``e ~ N(0, (1 - γ) I)``, so that a mean x_n of K examples leaves
    ``m_n ~ N(ρ x_n, γ (1 - ρ) I)``, ``ρ = γ / (γ + (1 - γ) / K)``. Second moments say nothing of γ, the share of
    the scatter that lies between classes; how much the rows form clusters around the examples does. The first model
    knows no more of m_n than that, for each row anew, and is too careful; the second learns m_n from the other two
    thirds of the rows (variational Bayes), and is too sure where clusters are no classes. Each is averaged over γ, by
    the likelihood of the rows to the power 0.3, as they are not the Gaussians of the model, and a prior
    ``γ² (1 - γ)³``.

    Args:
        means: of the examples of each class, x ``[N, D]``, N of at least 2.
        counts: how many those are, K ``[N]``.
        rows: ``[U, D]``; classes may be rarer and more frequent, shares are learned with them.

    Reference: Attias, "A variational Bayesian framework for graphical models", NeurIPS 1999.
    """
    value = rows.double() @ torch.linspace(1, 2, rows.shape[1], dtype=torch.float64, device=rows.device)
    fold = value.argsort(stable=True).argsort() % _FOLDS  # what a row holds decides, not its place
    known, rows = _whitened(means.double(), rows.double())  # [N, d], [U, d]
    shares = torch.tensor(_SHARES, dtype=rows.dtype, device=rows.device)
    evidence: tuple[list[Tensor], list[Tensor]] = ([], [])
    chances: tuple[list[Tensor], list[Tensor]] = ([], [])
    for some in shares.split(max(1, _NUMBERS // (len(rows) * len(known)))):
        for place, logits in enumerate(_log_densities(known, counts.to(rows), rows, fold, some)):  # [G, U, N]
            evidence[place].append(logits.logsumexp(-1).sum(-1))
            chances[place].append(logits.softmax(-1))
    prior = _PRIOR[0] * shares.log() + _PRIOR[1] * (1 - shares).log()  # [G]
    first, second = (
        torch.einsum("g,gun->un", (_WEIGHT * torch.cat(likely) + prior).softmax(0), torch.cat(chance))
        for likely, chance in zip(evidence, chances, strict=True)
    )
    return first, second


def _whitened(means: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Class means and rows in at most 16 directions in which the means differ, where rows have covariance I."""
    away = means - means.mean(0)
    size = min(_DIRECTIONS, len(means) - 1, means.shape[1])
    basis = torch.linalg.svd(away, full_matrices=False).Vh[:size]  # [d, D]
    away, rows = away @ basis.mT, (rows - rows.mean(0)) @ basis.mT
    covariance = rows.mT @ rows / len(rows)  # [d, d]
    usual = covariance.diagonal().mean()
    usual = torch.where(usual > 0, usual, away.square().mean().clamp(min=torch.finfo(rows.dtype).tiny))
    covariance = (len(rows) * covariance + size * usual * torch.eye(size).to(rows)) / (len(rows) + size)
    factor = torch.linalg.cholesky(covariance)
    white = torch.linalg.solve_triangular(factor, torch.cat([away, rows]).mT, upper=False).mT
    return white[: len(means)], white[len(means) :]


def _log_densities(known: Tensor, counts: Tensor, rows: Tensor, fold: Tensor, share: Tensor) -> Iterator[Tensor]:
    """Logarithm of ``p(u, n)`` up to a constant ``[G, U, N]``: by what examples say of centres, then by other rows."""
    share = share.view(-1, 1, 1)  # [G, 1, 1]
    scatter = 1 - share
    kept = share / (share + scatter / counts)  # [G, 1, N]
    doubt = share * (1 - kept)  # [G, 1, N]
    start = kept.mT * known  # [G, N, d]
    equal = torch.full_like(doubt, 1 / len(known))  # [G, 1, N]
    often = equal
    for _ in range(_STEPS):
        often = _frequency(_log_density(rows, start, scatter + doubt, often).softmax(-1))
    yield _log_density(rows, start, scatter + doubt, often)
    found = rows.new_empty(len(share), len(rows), len(known))
    for number in range(_FOLDS):
        others, centre, variance, often = rows[fold != number], start, doubt, equal
        for _ in range(_STEPS):
            apart = _squares(others, _around_zero(centre, often)) + rows.shape[1] * variance
            member = (often.log() - apart / (2 * scatter)).softmax(-1)  # [G, R, N]
            count = member.sum(1, keepdim=True)  # [G, 1, N]
            total = member.mT @ others + count.mT * (often @ centre)  # [G, N, d]
            variance = 1 / (1 / doubt + count / scatter)  # [G, 1, N]
            centre = variance.mT * (start / doubt.mT + total / scatter)
            often = _frequency(member)
        held = fold == number
        found[:, held] = _log_density(rows[held], centre, scatter + variance, often)
    yield found


def _frequency(member: Tensor) -> Tensor:
    """Shares of the classes ``[G, 1, N]``: half way between what is seen ``[G, R, N]`` and equal ones."""
    return (member.mean(1, keepdim=True) + 1 / member.shape[-1]) / 2


def _around_zero(centre: Tensor, often: Tensor) -> Tensor:
    """Centres ``[G, N, d]`` whose mean is zero, as that of the rows is, by how often they occur."""
    return centre - often @ centre


def _log_density(rows: Tensor, centre: Tensor, variance: Tensor, often: Tensor) -> Tensor:
    """Of round Gaussians and their classes, up to a constant ``[G, R, N]``."""
    apart = _squares(rows, _around_zero(centre, often))
    return often.log() - apart / (2 * variance) - rows.shape[1] / 2 * variance.log()


def _squares(rows: Tensor, centres: Tensor) -> Tensor:
    """Squared distances ``[G, R, N]`` of rows ``[R, d]`` from centres ``[G, N, d]``."""
    return rows.square().sum(-1, keepdim=True) - 2 * rows @ centres.mT + centres.square().sum(-1).unsqueeze(1)
