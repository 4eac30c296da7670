"""A multi-class support vector machine, solved in the dual for all episodes at once."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from episodes.episode import Episode
from fewshot.learner import Learner
from fewshot.linalg import product
from fewshot.simplex import onto_simplex
from fewshot.transduction import keep_support

_LOOK_EVERY = 20  # iterations between duality gaps


class SVMState(NamedTuple):
    """One vector per class."""

    weight: Tensor  # [E, N, D]
    absent: Tensor  # [E, N]


class SVM(Learner):
    """Fits Crammer and Singer's multi-class support vector machine to the support; ``logits = scale W q``.

    Minimises ``½ |W|² + C Σ_s max_n (w_n x_s + [n != y_s] - w_ys x_s)``. That is scikit-learn's
    ``LinearSVC(multi_class="crammer_singer", fit_intercept=False)``, and MetaOptNet's head. In the dual,
    ``W = Σ_s (C y_s - b_s) x_sᵀ`` with every b_s on a simplex of size C, so accelerated projected gradient
    steps of S x S matrices solve it; an episode ends when its relative duality gap is small enough.

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
    tolerance = 1e-2  # two runs end at different points of the same small duality gap

    def __init__(self, C: float = 0.1, scale: float = 1.0, gap: float = 1e-5, steps: int = 2000) -> None:
        super().__init__()
        if not C > 0 or not gap > 0 or steps < 1:
            raise ValueError(f"C={C}, gap={gap}, steps={steps}; C and gap must be positive, steps at least 1.")
        self.C = C
        self.scale = scale
        self.gap = gap
        self.steps = steps

    @torch.no_grad()
    def adapt(self, episode: Episode) -> SVMState:
        """Solve the dual."""
        known = keep_support(episode)
        exact = torch.float32 if known.support.device.type == "mps" else torch.float64
        rows, target = known.support.to(exact), known.one_hot.to(exact)  # [E, S, D], [E, S, N]
        gram = product(rows, rows.mT)  # [E, S, S]
        shares = self._dual(gram, target, known.absent)
        weight = product((self.C * target - shares).mT, rows)  # [E, N, D]
        return SVMState(weight.to(episode.support.dtype), known.absent)

    def predict(self, state: SVMState, query: Tensor) -> Tensor:
        """Decision values of the queries."""
        logits = self.scale * product(query, state.weight.mT)  # [E, Q, N]
        return logits.masked_fill(state.absent.unsqueeze(1), -torch.inf)

    def _dual(self, gram: Tensor, target: Tensor, absent: Tensor) -> Tensor:
        """The b ``[E, S, N]`` that minimise ``½ tr((Cy - b)ᵀ G (Cy - b)) - Σ (1 - y) b`` over simplices of size C."""
        known = target.sum(-1, keepdim=True)  # [E, S, 1]
        forbidden = absent.unsqueeze(1)
        result = self.C * target.clone()  # b = C y: W = 0
        step = 1 / torch.linalg.matrix_norm(gram, ord="fro", keepdim=True).clamp(min=1e-30)  # bounds the curvature
        active = torch.arange(len(gram), device=gram.device)
        point, ahead, momentum = result, result, gram.new_ones(len(gram), 1, 1)
        for count in range(1, self.steps + 1):
            slope = -product(gram, self.C * target - ahead) - (1 - target)
            moved = (ahead - step * slope).masked_fill(forbidden, -torch.inf)
            moved = onto_simplex(moved, self.C) * known
            # Momentum that points uphill is dropped: the steps converge linearly once the active set stands.
            uphill = ((ahead - moved) * (moved - point)).sum((1, 2), keepdim=True) > 0
            momentum = torch.where(uphill, torch.ones_like(momentum), momentum)
            following = (1 + (1 + 4 * momentum**2).sqrt()) / 2
            ahead = moved + torch.where(uphill, torch.zeros_like(momentum), (momentum - 1) / following) * (
                moved - point
            )
            point, momentum = moved, following
            if count % _LOOK_EVERY == 0 or count == self.steps:
                result[active] = point
                going = (self._gap(gram, target, forbidden, point) > self.gap).nonzero().squeeze(1)
                if len(going) == 0:
                    break
                if len(going) < len(active):
                    active = active[going]
                    gram, target, forbidden, known = gram[going], target[going], forbidden[going], known[going]
                    point, ahead, momentum, step = point[going], ahead[going], momentum[going], step[going]
        return result

    def _gap(self, gram: Tensor, target: Tensor, forbidden: Tensor, shares: Tensor) -> Tensor:
        """Relative duality gap ``[E]``."""
        signed = self.C * target - shares  # W = signedᵀ X
        scores = product(gram, signed)  # [E, S, N]
        square = (signed * scores).sum((1, 2))
        margins = (scores + 1 - target - (scores * target).sum(-1, keepdim=True)).masked_fill(forbidden, -torch.inf)
        losses = (margins.amax(-1) * target.sum(-1)).sum(-1)
        primal = square / 2 + self.C * losses
        dual = ((1 - target) * shares).sum((1, 2)) - square / 2
        return (primal - dual) / primal.clamp(min=1e-30)
