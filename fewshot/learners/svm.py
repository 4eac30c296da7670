"""A multi-class support vector machine, solved in the dual for all episodes at once."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from episodes.episode import Episode
from fewshot.crammer_singer import Dual, follow, solve_dual
from fewshot.learner import Learner
from fewshot.linalg import product


class SVMState(NamedTuple):
    """One vector per class."""

    weight: Tensor  # [E, N, D]
    absent: Tensor  # [E, N]


class SVM(Learner):
    """Fits Crammer and Singer's multi-class support vector machine to the support; ``logits = scale W q``.

    Minimises ``½ |W|² + C Σ_s max_n (w_n x_s + [n != y_s] - w_ys x_s)``. That is scikit-learn's
    ``LinearSVC(multi_class="crammer_singer", fit_intercept=False)``, and MetaOptNet's head. In the dual,
    ``W = Σ_s (C y_s - b_s) x_sᵀ`` with every b_s on a simplex of size C, so accelerated projected gradient
    steps of S x S matrices find the face where the solution lies, and Newton's method the solution on it. The gradient
    goes through it by the implicit function theorem; `metaoptnet` has a learned scale besides.

    Args:
        C: weight of the losses against the penalty.
        scale: factor on the logits; it changes probabilities, not predictions.
        gap: relative duality gap to end at.
        steps: at most.

    Raises:
        ValueError: an argument is out of range.

    Reference: Crammer, Singer, "On the algorithmic implementation of multiclass kernel-based vector machines",
    JMLR 2001; Lee, Maji, Ravichandran, Soatto, "Meta-learning with differentiable convex optimization", CVPR
    2019, arXiv:1904.03758.
    """

    name: ClassVar[str] = "svm"

    def __init__(self, C: float = 0.1, scale: float = 1.0, gap: float = 1e-10, steps: int = 2000) -> None:
        super().__init__()
        if not C > 0 or not gap > 0 or steps < 1:
            raise ValueError(f"C={C}, gap={gap}, steps={steps}; C and gap must be positive, steps at least 1.")
        self.C = C
        self.scale = scale
        self.gap = gap
        self.steps = steps

    def adapt(self, episode: Episode) -> SVMState:
        """Solve the dual."""
        one_hot = episode.one_hot
        known = one_hot.sum(-1, keepdim=True)  # [E, S, 1]
        present = one_hot.any(1, keepdim=True)  # [E, 1, N]
        exact = torch.float32 if one_hot.device.type == "mps" else torch.float64
        rows = torch.where(known > 0, episode.support, torch.zeros_like(episode.support)).to(exact)  # [E, S, D]
        target, allowed = one_hot.to(exact), (known > 0) & present
        problem = Dual(product(rows, rows.mT), target, allowed, self.C)
        shares = solve_dual(problem, self.gap, self.steps)
        if problem.gram.requires_grad:
            shares = follow(problem, shares)
        weight = product((self.C * target - shares).mT, rows)  # [E, N, D]
        return SVMState(weight.to(episode.support.dtype), ~present.squeeze(1))

    def predict(self, state: SVMState, query: Tensor) -> Tensor:
        """Decision values of the queries."""
        logits = self.scale * product(query, state.weight.mT)  # [E, Q, N]
        return logits.masked_fill(state.absent.unsqueeze(1), -torch.inf)
