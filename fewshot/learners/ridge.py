"""Ridge regression on one-hot labels, in closed form."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from episodes.episode import Episode
from fewshot.learner import Learner
from fewshot.maths.linalg import product


class RidgeState(NamedTuple):
    """One linear decision function per class."""

    weight: Tensor  # [E, N, D]
    bias: Tensor  # [E, N]


class Ridge(Learner):
    """Fits least squares with an L2 penalty from the support to its one-hot labels.

    Minimises ``Σ_s |W x_s + b - y_s|² + alpha |W|²`` with y in {0, 1}; ``logits = scale (W q + b)``. That is
    scikit-learn's ``Ridge`` on one-hot targets. Its ``RidgeClassifier`` has targets -1 and 1, so its decision
    values are ``2 logits - 1`` (scale 1) and its predictions the same.

    The solution is ``W = Yᵀ (X Xᵀ + alpha I)⁻¹ X``, of S equations, where there are no more rows than
    features, else ``W = Yᵀ X (Xᵀ X + alpha I)⁻¹``, of D (X and Y centred where there is an intercept).

    Args:
        alpha: strength of the penalty.
        scale: factor on the logits; it changes probabilities, not predictions. Regression on one-hot labels
            answers in 0..1, so with 1 the probabilities are rather flat.
        fit_intercept: fit b, which is not penalised; without it b = 0, as in R2-D2.

    Raises:
        ValueError: alpha is not positive and finite.

    Reference: Bertinetto, Henriques, Torr, Vedaldi, "Meta-learning with differentiable closed-form solvers",
    ICLR 2019, arXiv:1805.08136.

    >>> episode = Episode(torch.eye(2)[None], torch.tensor([[0, 1]]), torch.tensor([[[1.0, 0.0]]]), way=2)
    >>> Ridge(alpha=1.0)(episode)
    tensor([[[0.7500, 0.2500]]])
    """

    name: ClassVar[str] = "ridge"
    weighted = True

    def __init__(self, alpha: float = 1.0, scale: float = 1.0, fit_intercept: bool = True) -> None:
        super().__init__()
        if not 0 < alpha < float("inf"):
            raise ValueError(f"alpha={alpha!r}; it must be positive and finite (larger regularises more).")
        self.alpha = alpha
        self.scale = scale
        self.fit_intercept = fit_intercept

    def adapt(self, episode: Episode) -> RidgeState:
        """Solve for the weights of each episode."""
        support = episode.support
        # The Gram matrix squares the condition: float32 could make it indefinite where alpha is small.
        exact = torch.float32 if support.device.type == "mps" else torch.float64
        target = episode.one_hot.mT.to(exact)  # [E, N, S]
        absent = ~target.any(-1)  # [E, N]
        mask = target.sum(1, keepdim=True)  # [E, 1, S]
        if episode.weights is not None:
            mask = mask * episode.weights.unsqueeze(1).to(exact)  # how often each row is there
        rows = support.to(exact, copy=True)  # [E, S, D]
        if self.fit_intercept:
            total = mask.sum(-1, keepdim=True)
            weights = mask / torch.where(total > 0, total, 1)
            mean = product(weights, rows)  # [E, 1, D]
            bias = product(target, weights.mT)  # [E, N, 1]
            rows.sub_(mean)  # in place: fresh memory is what costs
            target = target - bias
        root = mask.sqrt()  # least squares of rows that are there so often
        target = target * root
        if rows.shape[1] <= rows.shape[2]:
            gram = product(rows, rows.mT) * root * root.mT  # [E, S, S]
            weight = product(self._solve(gram, target) * root, rows)  # [E, N, D]
        else:
            rows = rows * root.mT
            weight = self._solve(product(rows.mT, rows), product(target, rows))
        offset = (bias - product(weight, mean.mT)).squeeze(-1) if self.fit_intercept else weight.new_zeros(())
        bias = (self.scale * offset).expand(absent.shape).masked_fill(absent, -torch.inf)  # [E, N]
        return RidgeState((self.scale * weight).to(support.dtype), bias.to(support.dtype))

    def predict(self, state: RidgeState, query: Tensor) -> Tensor:
        """Regression of the queries onto the one-hot labels."""
        return product(query, state.weight.mT) + state.bias.unsqueeze(1)  # [E, Q, N]

    def _solve(self, matrix: Tensor, right: Tensor) -> Tensor:
        """``right (matrix + alpha I)⁻¹``: ``[E, N, R]`` for a symmetric matrix ``[E, R, R]``."""
        matrix.diagonal(dim1=1, dim2=2).add_(self.alpha)
        return torch.cholesky_solve(right.mT, torch.linalg.cholesky_ex(matrix).L).mT
