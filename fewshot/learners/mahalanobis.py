"""Simple CNAPS: Mahalanobis distances to class means, with a covariance of each class."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from episodes.episode import Episode, Support
from fewshot.learner import Learner
from fewshot.maths.held_out import differs_enough, remaining, without_rows
from fewshot.maths.linalg import class_means, product, rows_of_classes, squared_lengths
from fewshot.maths.spread import AUTO, check_auto, spread_of_support

_AUTO = 0.3  # chosen by benchmarks/defaults.py


class MahalanobisState(NamedTuple):
    """What inverts each Q_n: factors F shared by classes of as many shots, and G of each class.

    ``Q_n⁻¹ = FᵀF - GᵀG`` where F has as many rows as there are features, else ``(I - FᵀF) / β - GᵀG``.
    """

    centre: Tensor  # [E, 1, D], everything below is relative to it
    means: Tensor  # [E, N, D]
    shared: Tensor  # [E, U, R, D], F for each of U numbers of shots
    which: Tensor  # [E, N], which of them a class has; -1 for an absent class
    along: Tensor  # [E, N, R], F times the class mean
    own: Tensor  # [E, N, K, D], G
    offset: Tensor  # [E, N, K], G times the class mean
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
        free = (known.sum(1, keepdim=True).to(exact) - 1).clamp(min=1)  # [E, 1, 1]
        wide = support.shape[1] < support.shape[2]
        parts = support / free.sqrt() if wide else product(support.mT, support) / free  # A with Σ = AᵀA, or Σ
        return self._inverted(episode, size.mean, means, shots, parts, beta)

    def adapt_without(self, state: MahalanobisState, support: Support, left: Tensor) -> MahalanobisState:
        """Take the rows that are left out of the covariance of all, where there are as many rows as features."""
        if support.support.shape[1] < support.support.shape[2]:
            return super().adapt_without(state, support, left)
        known = (support.labels >= 0).unsqueeze(-1)  # [1, S, 1]
        rows = torch.where(known, support.support.to(state.means) - state.centre, 0)
        rest = remaining(rows, known.squeeze(-1).to(rows), support.labels, support.way, left, together=True)
        before = squared_lengths(rows).sum(1)  # [1]
        after = before - squared_lengths(rest.fallen).sum(1)  # [F]
        if not differs_enough(after, before):
            return super().adapt_without(state, support, left)
        copies = without_rows(support.replace(support=rows), left)
        shots = copies.shots.to(rows)  # [F, N]
        means = state.means * support.shots.to(rows).unsqueeze(-1) - rest.lost
        means = torch.where((shots > 0).unsqueeze(-1), means / shots.clamp(min=1).unsqueeze(-1), 0)  # [F, N, D]
        free = (shots.sum(1) - 1).clamp(min=1).view(-1, 1, 1)
        beta = state.beta.expand_as(free)
        if isinstance(self.regularisation, str):
            beta = _AUTO * after.view(-1, 1, 1) / free
        centre = state.centre.expand(len(left), -1, -1)
        return self._inverted(copies, centre, means, shots, rest.scatter(product(rows.mT, rows)) / free, beta)

    @staticmethod
    def _inverted(
        episode: Support, centre: Tensor, means: Tensor, shots: Tensor, parts: Tensor, beta: Tensor
    ) -> MahalanobisState:
        """The factors, from what is relative to the centre.

        Args:
            episode: rows and their classes.
            centre: that was subtracted ``[E, 1, D]``.
            means: of classes ``[E, N, D]``.
            shots: ``[E, N]``.
            parts: the covariance Σ of all rows ``[E, D, D]``; or, with fewer rows than features, A ``[E, S, D]`` with
                ``Σ = AᵀA``.
            beta: ``[E, 1, 1]``.
        """
        numbers = shots[shots > 0].unique()  # [U]
        which = torch.where(shots > 0, torch.searchsorted(numbers, shots.contiguous()), -1)
        rows, real = rows_of_classes(episode)  # [E, N, K, D], [E, N, K]
        counts = shots.view(*shots.shape, 1, 1)  # [E, N, 1, 1]
        # An unbiased covariance divides by K - 1; with one row there is none.
        own = (rows - means.unsqueeze(2)) * (counts / (counts + 1) / (counts - 1).clamp(min=1)).sqrt()
        own = own * real.unsqueeze(-1)
        flat = own.flatten(1, 2)  # [E, N * K, D]
        inverted, along = torch.zeros_like(own), means.new_zeros(*means.shape[:2], parts.shape[1])
        made = []
        for u, number in enumerate(numbers):
            factor, there = _inverse(parts, 1 / (number + 1), beta, flat)  # [E, R, D], [E, N * K, D]
            made.append(factor)
            here = (which == u).unsqueeze(-1)  # [E, N, 1]
            inverted = torch.where(here.unsqueeze(-1), there.view_as(own), inverted)
            along = along + product(means, factor.mT) * here  # [E, N, R]
        small = own @ inverted.mT  # [E, N, K, K]
        small = small + torch.eye(small.shape[-1], dtype=small.dtype, device=small.device)
        factors = torch.linalg.solve_triangular(torch.linalg.cholesky_ex(small).L, inverted, upper=False)
        offset = (factors * means.unsqueeze(2)).sum(-1)  # [E, N, K]
        shared = torch.stack(made, 1) if made else parts.new_zeros(len(parts), 0, *parts.shape[1:])
        return MahalanobisState(centre, means, shared, which, along, factors, offset, beta)

    def predict(self, state: MahalanobisState, query: Tensor) -> Tensor:
        """Measure the queries."""
        centre, means, shared, which, of_means, own, offset, beta = state
        rows = query.to(means.dtype) - centre
        whole = shared.shape[2] == shared.shape[3]
        far = 0 if whole else _squares(rows, means) / beta  # [E, Q, N], |q - μ|² / β
        for u in range(shared.shape[1]):
            along = _squares(product(rows, shared[:, u].mT), of_means) * (which == u).unsqueeze(1)
            far = far + along if whole else far - along / beta
        episodes, way, most, width = own.shape
        inner = product(rows, own.reshape(episodes, way * most, width).mT) - offset.view(episodes, 1, -1)
        inner = inner.view(*rows.shape[:2], way, most).square().sum(-1)  # [E, Q, N]
        logits = -0.5 * (far - inner).clamp(min=0)
        return logits.to(query.dtype).masked_fill((which < 0).unsqueeze(1), -torch.inf)

    def outlier_score(self, episode: Episode, logits: Tensor) -> Tensor:
        """Half the squared Mahalanobis distance to the nearest class."""
        return -logits.amax(-1)


def _squares(left: Tensor, right: Tensor) -> Tensor:
    """``|l - r|²`` of all pairs ``[E, I, J]``."""
    lengths = squared_lengths(left).unsqueeze(-1) + squared_lengths(right).unsqueeze(1)
    return (lengths - 2 * product(left, right.mT)).clamp(min=0)


def _inverse(parts: Tensor, share: Tensor, beta: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """F of the inverse of ``M = share Σ + βI``, and rows ``[E, I, D]`` times that inverse.

    ``M⁻¹ = FᵀF`` from Σ ``[E, D, D]``, and ``(I - FᵀF) / β`` from A ``[E, S, D]`` with ``Σ = AᵀA``.
    """
    count, width = parts.shape[1:]
    eye = torch.eye(count, dtype=parts.dtype, device=parts.device)
    if count == width:
        least = torch.finfo(parts.dtype).eps * parts.diagonal(dim1=1, dim2=2).sum(-1).view(-1, 1, 1) + 1e-30
        factor = torch.linalg.cholesky_ex(share * parts + (beta + least) * eye).L
        return torch.linalg.solve_triangular(factor, eye, upper=False), torch.cholesky_solve(right.mT, factor).mT
    parts = parts * share.sqrt()
    small = product(parts, parts.mT) + beta * eye  # [E, S, S]
    factor = torch.linalg.solve_triangular(torch.linalg.cholesky_ex(small).L, parts, upper=False)
    return factor, (right - product(product(right, factor.mT), factor)) / beta
