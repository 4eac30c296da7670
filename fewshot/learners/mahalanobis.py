"""Simple CNAPS: Mahalanobis distances to class means, with a covariance of each class."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from episodes.episode import Episode
from fewshot.learner import Learner
from fewshot.maths.centring import relative_to_centre, shifted
from fewshot.maths.linalg import product, rows_of_classes


class MahalanobisState(NamedTuple):
    """A Gaussian per class: its mean, and the factor F with ``Q⁻¹ = (I - Fᵀ F) / regularisation``."""

    means: Tensor  # [E, N, D]
    factors: Tensor  # [E, N, R, D]
    absent: Tensor  # [E, N]
    offset: Tensor  # [E, 1, D] or [E, 1, 1], what the means are relative to


class Mahalanobis(Learner):
    """Classifies by the Mahalanobis distance to each class mean, under regularised class covariances.

    ``Q_n = λ_n Σ_n + (1 - λ_n) Σ + regularisation I`` with ``λ_n = K_n / (K_n + 1)``, Σ_n the covariance of class n
    and Σ that of the whole support; ``logits = -½ (q - μ_n)ᵀ Q_n⁻¹ (q - μ_n)``.

    Q_n is a sphere plus K_n + S outer products, so its inverse is applied through a matrix of that size
    where that is smaller than D x D.

    Args:
        regularisation: the sphere's share, in units of squared features; 1 in the paper, for features of the size
            that its networks give. Features of length one need less: their variances are near ``1/D``.

    Raises:
        ValueError: regularisation is not positive.

    Reference: Bateni, Goyal, Masrani, Wood, Sigal, "Improved few-shot visual classification", CVPR 2020,
    arXiv:1912.03432.
    """

    name: ClassVar[str] = "mahalanobis"
    invariant = ("offset",)

    def __init__(self, regularisation: float = 1.0) -> None:
        super().__init__()
        if not regularisation > 0:
            raise ValueError(f"regularisation={regularisation!r}; it must be positive.")
        self.regularisation = regularisation

    def adapt(self, episode: Episode) -> MahalanobisState:
        """Estimate means and covariances."""
        exact = torch.float32 if episode.support.device.type == "mps" else torch.float64
        episode, means, shots, offset = relative_to_centre(episode)
        rows, real = rows_of_classes(episode)  # [E, N, K, D], [E, N, K]
        rows, centres = rows.to(exact), means.to(exact)
        shares = real.to(exact).unsqueeze(-1)  # [E, N, K, 1]
        counts = shots.to(exact).view(*shots.shape, 1, 1)  # [E, N, 1, 1]
        total = counts.sum(1, keepdim=True).clamp(min=1)
        mean = (rows * shares).sum((1, 2), keepdim=True) / total  # [E, 1, 1, D]
        own = (rows - centres.unsqueeze(2)) * shares  # [E, N, K, D]
        around = ((rows - mean) * shares).flatten(1, 2).unsqueeze(1)  # [E, 1, N * K, D]
        weight = counts / (counts + 1)
        # An unbiased covariance divides by K - 1; with one row there is none.
        own = own * (weight / (counts - 1).clamp(min=1)).sqrt()
        around = around * ((1 - weight) / (total - 1).clamp(min=1)).sqrt()  # [E, N, N * K, D]
        parts = torch.cat([own, around.expand(-1, episode.way, -1, -1)], 2)  # [E, N, R, D], Q = Aᵀ A + βI
        return MahalanobisState(means, self._factors(parts).to(means.dtype), shots == 0, offset)

    def predict(self, state: MahalanobisState, query: Tensor) -> Tensor:
        """Measure the queries."""
        means, factors, absent, offset = state
        query = shifted(query, offset)
        episodes, way, rank, width = factors.shape
        squares = query.square().sum(-1, keepdim=True) + means.square().sum(-1).unsqueeze(1)
        far = (squares - 2 * product(query, means.mT)).clamp(min=0)  # [E, Q, N], |q - μ|²
        along = product(query, factors.reshape(episodes, way * rank, width).mT)  # [E, Q, N * R]
        centres = (factors * means.unsqueeze(2)).sum(-1).reshape(episodes, 1, way * rank)
        inner = (along - centres).view(*query.shape[:2], way, rank).square().sum(-1)
        logits = -0.5 * (far - inner).clamp(min=0) / self.regularisation
        return logits.masked_fill(absent.unsqueeze(1), -torch.inf)

    def outlier_score(self, episode: Episode, logits: Tensor) -> Tensor:
        """Half the squared Mahalanobis distance to the nearest class."""
        return -logits.amax(-1)

    def _factors(self, parts: Tensor) -> Tensor:
        """F with ``(AᵀA + βI)⁻¹ = (I - FᵀF)/β`` for A ``[E, N, R, D]``: of ``min(R, D)`` rows."""
        beta = self.regularisation
        if parts.shape[2] > parts.shape[3]:
            # The same covariance of D rows: its Cholesky factor.
            matrix = parts.mT @ parts
            tiny = torch.finfo(parts.dtype).eps * matrix.diagonal(dim1=-2, dim2=-1).sum(-1, keepdim=True) + 1e-30
            matrix.diagonal(dim1=-2, dim2=-1).add_(tiny)
            parts = torch.linalg.cholesky_ex(matrix).L.mT
        small = parts @ parts.mT  # [E, N, R, R]
        small.diagonal(dim1=-2, dim2=-1).add_(beta)
        return torch.linalg.solve_triangular(torch.linalg.cholesky_ex(small).L, parts, upper=False)
