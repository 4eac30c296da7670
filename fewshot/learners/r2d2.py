"""R2-D2: ridge regression whose penalty and scale are learned through the solution."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from episodes.episode import Episode, Support
from fewshot.learner import Learner
from fewshot.learner import State as State
from fewshot.maths.linalg import product
from fewshot.maths.outliers import distance_to_means


class R2D2(Learner):
    """Least squares from the support to its one-hot labels, with learned penalty and scale.

    ``W = Yᵀ (X Xᵀ + exp(log_alpha) I)⁻¹ X`` without intercept, ``logits = exp(log_scale) W q``. Both parameters,
    and an encoder in front (``conv4 | r2d2``), are trained through the solution, which is differentiable to any
    order. The paper's shift of all logits alike changes no softmax and is left out. Untrained it is
    ``ridge(fit_intercept=False)`` with the same numbers.

    Args:
        alpha: where the penalty starts.
        scale: where the scale starts.

    Raises:
        ValueError: one of them is not positive.

    Reference: Bertinetto, Henriques, Torr, Vedaldi, "Meta-learning with differentiable closed-form solvers",
    ICLR 2019, arXiv:1805.08136.

    Example:
        >>> from episodes import EpisodeSampler, evaluate, load_dataset
        >>> from fewshot import meta_train
        >>> digits = load_dataset("digits")
        >>> sampler = EpisodeSampler(digits.labels, way=5, shot=5, query=15)
        >>> trained = meta_train("r2d2", digits, sampler, steps=20, lr=0.01, progress=False).learner
        >>> round(evaluate({"r2d2": trained}, digits, sampler, episodes=20)["r2d2"].mean, 1)
        0.9
    """

    name: ClassVar[str] = "r2d2"

    def __init__(self, alpha: float = 1.0, scale: float = 10.0) -> None:
        super().__init__()
        if alpha <= 0 or scale <= 0:
            raise ValueError(f"alpha={alpha}, scale={scale}; both must be positive.")
        self.alpha, self.scale = alpha, scale
        self.log_alpha = nn.Parameter(torch.tensor(math.log(alpha)))
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)))

    def adapt(self, episode: Support) -> State:
        """Solve for the weights of each episode."""
        support = episode.support
        # The Gram matrix squares the condition of the rows.
        exact = torch.float32 if support.device.type == "mps" else torch.float64
        target = episode.one_hot.mT.to(exact)  # [E, N, S]
        rows = support.to(exact) * target.sum(1).unsqueeze(-1)  # padding is zero
        alpha = self.log_alpha.to(exact).exp()
        if rows.shape[1] <= rows.shape[2]:
            gram = product(rows, rows.mT) + alpha * torch.eye(rows.shape[1], dtype=exact, device=rows.device)
            weight = product(_solve(gram, target), rows)  # [E, N, D]
        else:
            gram = product(rows.mT, rows) + alpha * torch.eye(rows.shape[2], dtype=exact, device=rows.device)
            weight = _solve(gram, product(target, rows))
        return weight.to(support.dtype), ~target.bool().any(-1)

    def predict(self, state: State, query: Tensor) -> Tensor:
        """Scaled regression of the queries."""
        weight, absent = state
        logits = self.log_scale.exp().to(query) * product(query, weight.mT)  # [E, Q, N]
        return logits.masked_fill(absent.unsqueeze(1), -torch.inf)

    def outlier_score(self, episode: Episode, logits: Tensor) -> Tensor:
        """The squared distance to the nearest class mean."""
        return distance_to_means(episode)


def _solve(matrix: Tensor, right: Tensor) -> Tensor:
    """``right matrix⁻¹`` for a symmetric matrix ``[E, R, R]``."""
    return torch.cholesky_solve(right.mT, torch.linalg.cholesky_ex(matrix).L).mT
