"""A multi-class support vector machine, solved in the dual for all episodes at once."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

from torch import Tensor

from episodes.episode import Episode, Support
from fewshot.learner import Learner
from fewshot.maths.crammer_singer import SVMState, check, decide, fit
from fewshot.maths.outliers import distance_to_means
from fewshot.maths.spread import AUTO, Spread, check_auto, spread_of_support

_AUTO = 1.0  # chosen by benchmarks/defaults.py


class RescaledSVMState(NamedTuple):
    """The machine, and what brings rows to its scale."""

    machine: SVMState
    spread: Spread


class SVM(Learner):
    """Fits Crammer and Singer's multi-class support vector machine to the support; ``logits = scale W q``.

    Minimises ``½ |W|² + C Σ_s max_n (w_n x_s + [n != y_s] - w_ys x_s)``. That is scikit-learn's
    ``LinearSVC(multi_class="crammer_singer", fit_intercept=False)``, and MetaOptNet's head. In the dual,
    ``W = Σ_s (C y_s - b_s) x_sᵀ`` with every b_s on a simplex of size C, so accelerated projected gradient
    steps of S x S matrices find the face where the solution lies, and Newton's method the solution on it. The gradient
    goes through it by the implicit function theorem; `metaoptnet` has a learned scale besides.

    Where classes overlap much, as kinds of reviews do, its margins hang on the rows least like their class: there it
    stays 3 to 4 points behind class means (C of 0.01, 0.03, 0.1 and 1 were tried, and a penalty towards class means in
    place of zero, which costs as much elsewhere); take `Logistic` or `Prototypes` there.

    Args:
        C: weight of the losses against the penalty; ``"auto"``: 1, and rows are first brought to a mean square distance
            of 1 from the mean of the support, so that neither offset nor size of the features matters.
        scale: factor on the logits; it changes probabilities, not predictions.
        gap: relative duality gap to end at; 1e-4 changes next to no prediction, small problems end far below it.
        steps: at most.

    Raises:
        ValueError: an argument is out of range.

    MetaOptNet's setting, for features that were learned with it: ``svm(C=0.1)``.

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

    def __init__(self, C: float | str = AUTO, scale: float = 1.0, gap: float = 1e-4, steps: int = 2000) -> None:
        super().__init__()
        check_auto("C", C)
        check(_AUTO if isinstance(C, str) else C, gap, steps)
        self.C = C
        self.scale = scale
        self.gap = gap
        self.steps = steps

    def adapt(self, episode: Support) -> RescaledSVMState:
        """Solve the dual."""
        spread = spread_of_support(episode).where(self.C == AUTO)
        episode = episode.replace(support=spread.rescale(episode.support))
        return RescaledSVMState(
            fit(episode, _AUTO if isinstance(self.C, str) else self.C, self.gap, self.steps), spread
        )

    def predict(self, state: RescaledSVMState, query: Tensor) -> Tensor:
        """Decision values of the queries."""
        return decide(state.machine, state.spread.rescale(query), self.scale)

    def outlier_score(self, episode: Episode, logits: Tensor) -> Tensor:
        """The squared distance to the nearest class mean."""
        return distance_to_means(episode)
