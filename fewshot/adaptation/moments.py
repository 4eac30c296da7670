"""Means and covariances of a domain, batched over episodes, and powers of a covariance without forming it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from episodes.episode import Support
from fewshot.maths.linalg import product


class Centred(NamedTuple):
    """Rows of a domain about their mean."""

    mean: Tensor  # [E, 1, D]
    rows: Tensor  # [E, R, D]; rows that do not count are zero
    total: Tensor  # [E, 1, 1], how many count


def source_of(source: Support) -> Centred:
    """The labelled rows about their mean; padding does not count."""
    known = (source.labels >= 0).to(source.support.dtype).unsqueeze(-1)  # [E, S, 1]
    return _centred(source.support, known)


def target_of(rows: Tensor) -> Centred:
    """Target rows ``[E, U, D]`` about their mean."""
    return _centred(rows, torch.ones_like(rows[..., :1]))


def _centred(rows: Tensor, known: Tensor) -> Centred:
    count = known.sum(1, keepdim=True).clamp(min=1)  # [E, 1, 1]
    mean = product(known.mT / count, rows)  # [E, 1, D]
    return Centred(mean, (rows - mean) * known, count)


class Spectrum(NamedTuple):
    """A covariance as ``base I + V^T diag(values - base) V``."""

    axes: Tensor  # [E, r, D], orthonormal rows
    values: Tensor  # [E, r], variances along them
    base: Tensor  # [E, 1], variance along all other directions

    def power(self, rows: Tensor, exponent: float) -> Tensor:
        """``rows C^exponent`` for rows ``[E, R, D]``."""
        base = self.base**exponent  # [E, 1]
        gain = self.values**exponent - base  # [E, r]
        return base.unsqueeze(-1) * rows + product(product(rows, self.axes.mT) * gain.unsqueeze(1), self.axes)


def principal(domain: Centred) -> tuple[Tensor, Tensor]:
    """Principal axes of a domain ``[E, r, D]``, largest first, and the variances along them ``[E, r]``, ddof 0."""
    rows, count = domain.rows, domain.total
    if rows.shape[1] < rows.shape[2]:  # few rows: the Gram matrix is the smaller one
        values, vectors = torch.linalg.eigh(product(rows, rows.mT))  # [E, R], [E, R, R]
        values, vectors = values.flip(-1).clamp(min=0), vectors.flip(-1)
        least = values[:, :1] * rows.shape[1] * torch.finfo(rows.dtype).eps
        lengths = torch.where(values > least, values, torch.inf).sqrt()
        axes = product(vectors.mT, rows) / lengths.unsqueeze(-1)  # zero where there is no such direction
        return axes, torch.where(values > least, values, 0) / count.squeeze(-1)
    values, vectors = torch.linalg.eigh(product(rows.mT, rows))  # [E, D], [E, D, D]
    return vectors.flip(-1).mT, values.flip(-1).clamp(min=0) / count.squeeze(-1)


def shrunk(domain: Centred, shrinkage: float | str) -> Spectrum:
    """``(1 - s) C + s tr(C) / D I``, s given or, as ``"auto"``, by Ledoit and Wolf's formula.

    Reference: Ledoit, Wolf, "A well-conditioned estimator for large-dimensional covariance matrices", Journal of
    Multivariate Analysis 88 (2004).
    """
    axes, values = principal(domain)
    width = domain.rows.shape[-1]
    mean = values.sum(-1, keepdim=True) / width  # [E, 1]
    share = _ledoit_wolf(domain, values, mean) if shrinkage == "auto" else torch.full_like(mean, float(shrinkage))
    least = torch.finfo(values.dtype).tiny ** 0.5
    base = (share * mean).clamp(min=least)
    return Spectrum(axes, ((1 - share) * values + share * mean).clamp(min=least), base)


def _ledoit_wolf(domain: Centred, values: Tensor, mean: Tensor) -> Tensor:
    width, count = domain.rows.shape[-1], domain.total.squeeze(-1)  # [E, 1]
    norm = values.square().sum(-1, keepdim=True)  # |C|_F^2
    fourth = domain.rows.square().sum(-1).square().sum(-1, keepdim=True)  # sum |x|^4, [E, 1]
    beta = (fourth / count - norm) / (width * count)
    delta = (norm - width * mean.square()) / width
    return torch.where(delta > 0, torch.minimum(beta, delta) / delta, 0).clamp(0, 1)
