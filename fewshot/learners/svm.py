"""A multi-class support vector machine, solved in the dual for all episodes at once."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from episodes.episode import Episode
from fewshot.learner import Learner
from fewshot.maths.crammer_singer import SVMState, check, decide, fit
from fewshot.maths.outliers import distance_to_answer


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
        check(C, gap, steps)
        self.C = C
        self.scale = scale
        self.gap = gap
        self.steps = steps

    def adapt(self, episode: Episode) -> SVMState:
        """Solve the dual."""
        return fit(episode, self.C, self.gap, self.steps)

    def predict(self, state: SVMState, query: Tensor) -> Tensor:
        """Decision values of the queries."""
        return decide(state, query, self.scale)

    def outlier_score(self, episode: Episode, logits: Tensor) -> Tensor:
        """The squared distance to the mean of the class that a query is given to."""
        return distance_to_answer(episode, logits)
