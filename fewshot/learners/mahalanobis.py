"""Simple CNAPS: Mahalanobis distances to class means, with a covariance of each class."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from episodes.episode import Episode, Support
from fewshot.learner import Learner
from fewshot.maths.linalg import class_means, product, rows_of_classes
from fewshot.maths.spread import AUTO, check_auto, spread_of_support

_AUTO = 0.3  # chosen by benchmarks/defaults.py


class MahalanobisState(NamedTuple):
    """What inverts each Q_n: factors F shared by classes of as many shots, and G of each class.

    ``Q_n⁻¹ = (I - FᵀF) / β - GᵀG``.
    """

    centre: Tensor  # [E, 1, D], everything below is relative to it
    means: Tensor  # [E, N, D]
    shared: Tensor  # [E, U, R, D], F for each of U numbers of shots
    which: Tensor  # [E, N], which of them a class has; -1 for an absent class
    own: Tensor  # [E, N, K, D], G
    beta: Tensor  # [E, 1, 1]


class Mahalanobis(Learner):
    """Classifies by the Mahalanobis distance to each class mean, under regularised class covariances.

    ``Q_n = λ_n Σ_n + (1 - λ_n) Σ + regularisation I`` with ``λ_n = K_n / (K_n + 1)``, Σ_n the covariance of class n
    and Σ that of the whole support; ``logits = -½ (q - μ_n)ᵀ Q_n⁻¹ (q - μ_n)``.

    The part of Q_n in Σ is the same for all classes of as many shots, and is inverted once; what is left of a class is
    K_n outer products, so its inverse goes through a matrix of that size, and no class has a matrix of D x D or S x S.

    Args:
        regularisation: the sphere's share β, in units of squared features; 1 in the paper, for features of the size
            that its networks give; ``"auto"``: 0.3 times the mean square distance of the support from its mean, so
            that the size of the features does not matter.

    Raises:
        ValueError: regularisation is neither "auto" nor positive and finite.

    The paper's setting: ``mahalanobis(regularisation=1.0)``.

    Reference: Bateni, Goyal, Masrani, Wood, Sigal, "Improved few-shot visual classification", CVPR 2020,
    arXiv:1912.03432.

    Example:
        >>> from episodes import EpisodeSampler, evaluate, load_dataset
        >>> digits = load_dataset("digits")
        >>> sampler = EpisodeSampler(digits.labels, way=5, shot=5, query=15)
        >>> results = evaluate(["mahalanobis"], digits, sampler, episodes=20)
        >>> round(results["mahalanobis"].mean, 1)
        0.9
    """

    name: ClassVar[str] = "mahalanobis"
    invariant = ("offset",)

    def __init__(self, regularisation: float | str = AUTO) -> None:
        super().__init__()
        check_auto("regularisation", regularisation)
        self.regularisation = regularisation

    def adapt(self, episode: Support) -> MahalanobisState:
        """Estimate means and covariances."""
        exact = torch.float32 if episode.support.device.type == "mps" else torch.float64
        episode = episode.replace(support=episode.support.to(exact))
        size = spread_of_support(episode)
        beta = _AUTO * size.root.square() if isinstance(self.regularisation, str) else self.regularisation
        beta = torch.as_tensor(beta, dtype=exact, device=size.root.device).expand_as(size.root)
        known = (episode.labels >= 0).unsqueeze(-1)  # [E, S, 1]
        support = torch.where(known, episode.support - size.mean, torch.zeros_like(episode.support))
        episode = episode.replace(support=support)
        means, shots = class_means(episode)
        numbers = shots[shots > 0].unique()  # [U]
        which = torch.where(shots > 0, torch.searchsorted(numbers, shots.contiguous()), -1)
        total = known.sum(1, keepdim=True).to(exact)  # [E, 1, 1]
        around = (support / (total - 1).clamp(min=1).sqrt()).unsqueeze(1)  # [E, 1, S, D], Σ = BᵀB
        around = _narrow(around) / (numbers + 1).view(1, -1, 1, 1).sqrt()  # [E, U, R, D], (1 - λ) Σ
        shared = _factors(around, beta.unsqueeze(1))
        rows, real = rows_of_classes(episode)  # [E, N, K, D], [E, N, K]
        counts = shots.view(*shots.shape, 1, 1)  # [E, N, 1, 1]
        # An unbiased covariance divides by K - 1; with one row there is none.
        own = (rows - means.unsqueeze(2)) * (counts / (counts + 1) / (counts - 1).clamp(min=1)).sqrt()
        own = own * real.unsqueeze(-1)
        inverted = own / beta.unsqueeze(1)  # [E, N, K, D], rows times the inverse of the shared part
        flat = own.flatten(1, 2)  # [E, N * K, D]
        for u in range(len(numbers)):
            there = product(product(flat, shared[:, u].mT), shared[:, u]).view_as(own) / beta.unsqueeze(1)
            inverted = inverted - there * (which == u).view(*which.shape, 1, 1)
        small = own @ inverted.mT  # [E, N, K, K]
        small = small + torch.eye(small.shape[-1], dtype=exact, device=small.device)
        factors = torch.linalg.solve_triangular(torch.linalg.cholesky_ex(small).L, inverted, upper=False)
        return MahalanobisState(size.mean, means, shared, which, factors, beta)

    def predict(self, state: MahalanobisState, query: Tensor) -> Tensor:
        """Measure the queries."""
        centre, means, shared, which, own, beta = state
        rows = query.to(means.dtype) - centre
        far = _squares(rows, means)  # [E, Q, N], |q - μ|²
        for u in range(shared.shape[1]):
            along, of_means = (product(part, shared[:, u].mT) for part in (rows, means))  # [E, Q, R], [E, N, R]
            far = far - _squares(along, of_means) * (which == u).unsqueeze(1)
        episodes, way, most, width = own.shape
        offset = (own * means.unsqueeze(2)).sum(-1).view(episodes, 1, -1)
        inner = product(rows, own.reshape(episodes, way * most, width).mT) - offset  # [E, Q, N * K]
        inner = inner.view(*rows.shape[:2], way, most).square().sum(-1)
        logits = -0.5 * (far / beta - inner).clamp(min=0)
        return logits.to(query.dtype).masked_fill((which < 0).unsqueeze(1), -torch.inf)

    def outlier_score(self, episode: Episode, logits: Tensor) -> Tensor:
        """Half the squared Mahalanobis distance to the nearest class."""
        return -logits.amax(-1)


def _squares(left: Tensor, right: Tensor) -> Tensor:
    """``|l - r|²`` of all pairs ``[E, I, J]``."""
    lengths = left.square().sum(-1, keepdim=True) + right.square().sum(-1).unsqueeze(1)
    return (lengths - 2 * product(left, right.mT)).clamp(min=0)


def _narrow(parts: Tensor) -> Tensor:
    """Rows of the same covariance AᵀA, no more than columns: its Cholesky factor where A ``[E, 1, R, D]`` has more."""
    if parts.shape[2] <= parts.shape[3]:
        return parts
    matrix = parts.mT @ parts
    tiny = torch.finfo(parts.dtype).eps * matrix.diagonal(dim1=-2, dim2=-1).sum(-1, keepdim=True) + 1e-30
    matrix.diagonal(dim1=-2, dim2=-1).add_(tiny)
    return torch.linalg.cholesky_ex(matrix).L.mT


def _factors(parts: Tensor, beta: Tensor) -> Tensor:
    """F with ``(AᵀA + βI)⁻¹ = (I - FᵀF) / β`` for A ``[E, U, R, D]``."""
    small = parts @ parts.mT  # [E, U, R, R]
    small = small + beta * torch.eye(small.shape[-1], dtype=parts.dtype, device=parts.device)
    return torch.linalg.solve_triangular(torch.linalg.cholesky_ex(small).L, parts, upper=False)
