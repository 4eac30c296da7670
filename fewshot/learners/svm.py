"""A multi-class support vector machine, solved in the dual for all episodes at once."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from episodes.episode import Episode, Support
from fewshot.learner import Learner
from fewshot.maths.affinity import squared_distances
from fewshot.maths.crammer_singer import Solution, check, held_out, solve
from fewshot.maths.experts import left_out, sharpness_of_means, weigh_experts
from fewshot.maths.linalg import product
from fewshot.maths.outliers import distance_to_means
from fewshot.maths.spread import AUTO, Spread, check_auto, spread, spread_of_support

_AUTO = 1.0  # chosen by benchmarks/defaults.py
_MARGIN = 3.0  # a margin of 1 is then as sharp as distances to class means


class LinearState(NamedTuple):
    """One linear function per class, and what brings rows to its scale."""

    weight: Tensor  # [E, N, D]
    bias: Tensor  # [E, N], -inf for absent classes
    spread: Spread


class SVM(Learner):
    """Fits Crammer and Singer's multi-class support vector machine to the support, and asks class means as well.

    Minimises ``½ |W|² + C Σ_s max_n (w_n x_s + [n != y_s] - w_ys x_s)``. That is scikit-learn's
    ``LinearSVC(multi_class="crammer_singer", fit_intercept=False)``, and MetaOptNet's head. In the dual,
    ``W = Σ_s (C y_s - b_s) x_sᵀ`` with every b_s on a simplex of size C, so accelerated projected gradient
    steps of S x S matrices find the face where the solution lies, and Newton's method the solution on it. The gradient
    goes through it by the implicit function theorem; `metaoptnet` has a learned scale besides.

    Where classes overlap much, as kinds of reviews do, its margins hang on the rows least like their class, and class
    means answer better, by up to 4 points. So they are asked as well, ``logits = scale (3 a W q + b m_q)`` with ``m_qn
    = -10 K / (K + 1) |q - p_n|² / r²`` for K rows a class of root mean square distance r from their mean. The weights a
    and b are those under which labelled rows are likeliest when they are left out of both, near to 1 and `means` where
    there are few (`weigh_experts`). No machine is fitted for that (the span bound says what is left of a score), and at
    one row a class there is nothing to leave out.

    Args:
        C: weight of the losses against the penalty; ``"auto"``: 1, and rows are first brought to a mean square distance
            of 1 from the mean of the support, so that neither offset nor size of the features matters.
        means: weight of class means before any example has been left out; 0: they are not asked, and ``logits = scale W
            q`` as in the papers.
        scale: factor on the logits; it changes probabilities, not predictions.
        gap: relative duality gap to end at; 1e-4 changes next to no prediction, small problems end far below it.
        steps: at most.

    Raises:
        ValueError: an argument is out of range.

    MetaOptNet's setting, for features that were learned with it: ``svm(C=0.1, means=0.0)``.

    Reference: Crammer, Singer, "On the algorithmic implementation of multiclass kernel-based vector machines",
    JMLR 2001; Lee, Maji, Ravichandran, Soatto, "Meta-learning with differentiable convex optimization", CVPR
    2019, arXiv:1904.03758.

    Example:
        >>> from episodes import EpisodeSampler, evaluate, load_dataset
        >>> digits = load_dataset("digits")
        >>> sampler = EpisodeSampler(digits.labels, way=5, shot=5, query=15)
        >>> results = evaluate(["svm"], digits, sampler, episodes=20)
        >>> round(results["svm"].mean, 1)
        0.9
    """

    name: ClassVar[str] = "svm"

    def __init__(
        self, C: float | str = AUTO, scale: float = 1.0, gap: float = 1e-4, steps: int = 2000, means: float = 1.0
    ) -> None:
        super().__init__()
        check_auto("C", C)
        check(_AUTO if isinstance(C, str) else C, gap, steps)
        if not 0 <= means < float("inf"):
            raise ValueError(f"means={means!r}; it must be at least 0 and finite.")
        self.C = C
        self.scale = scale
        self.gap = gap
        self.steps = steps
        self.means = means

    def adapt(self, episode: Support) -> LinearState:
        """Solve the dual, and weigh the solution against class means."""
        size = spread_of_support(episode).where(self.C == AUTO)
        episode = episode.replace(support=size.rescale(episode.support))
        found = solve(episode, _AUTO if isinstance(self.C, str) else self.C, self.gap, self.steps)
        weight = product(found.signed.mT, found.rows)  # [E, N, D]
        bias = torch.zeros_like(weight[..., 0])
        if self.means:
            weight, bias = self._beside_means(found, weight, episode.one_hot.to(weight))
        dtype = episode.support.dtype
        return LinearState(weight.to(dtype), bias.masked_fill(~found.present, -torch.inf).to(dtype), size)

    def predict(self, state: LinearState, query: Tensor) -> Tensor:
        """Decision values of the queries."""
        return self.scale * (product(state.spread.rescale(query), state.weight.mT) + state.bias.unsqueeze(1))

    def _beside_means(self, found: Solution, weight: Tensor, one_hot: Tensor) -> tuple[Tensor, Tensor]:
        """``3 a W q + b m_q`` as a linear function: ``|q|²`` is the same for all classes."""
        shots = one_hot.sum(1)  # [E, N]
        size = spread(found.rows, found.known.squeeze(-1))
        sharp = sharpness_of_means(shots, size.root.square())  # [E, 1, 1]
        prototypes = product(one_hot.mT, found.rows) / shots.unsqueeze(-1).clamp(min=1)  # [E, N, D]
        by_means = -sharp * squared_distances(found.rows, prototypes) * left_out(one_hot, shots).square()
        seen = torch.stack([_MARGIN * held_out(found), by_means], -1).detach()  # [E, S, N, 2]
        several = one_hot * (shots > 1).unsqueeze(1)
        absent = ~found.present.unsqueeze(1)
        weights = weigh_experts(seen.masked_fill(absent.unsqueeze(-1), -torch.inf), several, (1.0, self.means))
        first, second = _MARGIN * weights[:, :1, None], weights[:, 1:, None] * sharp  # [E, 1, 1]
        away = prototypes - size.mean  # [E, N, D]
        bias = -second * (away * (away + 2 * size.mean)).sum(-1, keepdim=True)
        return first * weight + 2 * second * away, bias.squeeze(-1)

    def outlier_score(self, episode: Episode, logits: Tensor) -> Tensor:
        """The squared distance to the nearest class mean."""
        return distance_to_means(episode)
