"""TIM-GD: class vectors that make the queries' predictions confident and balanced."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from episodes.episode import Support
from fewshot.learner import Learner
from fewshot.maths.centring import shifted
from fewshot.maths.information import tune
from fewshot.maths.prototype_head import check_metric
from fewshot.maths.spread import AUTO, check_auto
from fewshot.maths.transduction import SupportState, keep_support

_AUTO = 10.0  # chosen by benchmarks/defaults.py


class TIM(Learner):
    """Maximises the mutual information of queries and labels, by gradient descent on the class vectors.

    From the class means W, Adam minimises
    ``ce CE(support) - marginal H(mean_q p_q) + conditional mean_q H(p_q)`` with
    ``p_q = softmax_n(-scale/2 |q - w_n|²)``. The second term asks for predictions that use all classes alike:
    it *assumes balanced queries* (`AlphaTIM` does not). Gradients are written out, so no graph is built.

    Args:
        steps: of Adam.
        rate: of Adam.
        scale: factor on the logits (the paper's τ); ``"auto"``: 10, and rows are first brought to a mean square
            distance of 1 from the mean of the support, so that neither offset nor size of the features matters.
        cross_entropy: weight of the support's loss (λ).
        marginal: weight of the entropy of the mean prediction.
        conditional: weight of the mean entropy of predictions (α).
        metric: ``"squared"`` as in the paper; or ``"cosine"``, ``"euclidean"``.

    Raises:
        ValueError: an unknown metric, or steps is below 1.

    The paper's setting: ``cl2n | tim(steps=1000, rate=1e-4, scale=15.0)``, with base data for `cl2n`; the
    default takes a tenth of the steps.

    Reference: Boudiaf, Masud, Rony, Dolz, Piantanida, Ben Ayed, "Transductive information maximization for
    few-shot learning", NeurIPS 2020, arXiv:2008.11297.
    """

    name: ClassVar[str] = "tim"
    transductive = True

    def __init__(
        self,
        steps: int = 100,
        rate: float = 1e-3,
        scale: float | str = AUTO,
        cross_entropy: float = 0.1,
        marginal: float = 1.0,
        conditional: float = 0.1,
        metric: str = "squared",
    ) -> None:
        super().__init__()
        check_metric(metric)
        check_auto("scale", scale)
        if steps < 1:
            raise ValueError(f"steps={steps}; it must be at least 1.")
        self.steps = steps
        self.rate = rate
        self.scale = scale
        self.cross_entropy = cross_entropy
        self.marginal = marginal
        self.conditional = conditional
        self.metric = metric
        self.invariant = () if metric == "cosine" else ("offset",)

    def adapt(self, support: Support) -> SupportState:
        """Keep the support."""
        return keep_support(support, relative=self.metric != "cosine")

    def predict(self, state: SupportState, query: Tensor) -> Tensor:
        """Tune the class vectors on support and queries, then score the queries."""
        query = shifted(query, state.offset)
        scale = _AUTO if isinstance(self.scale, str) else self.scale
        return tune(
            state, query, metric=self.metric, scale=scale, alpha=None, steps=self.steps, rate=self.rate,
            weights=(self.cross_entropy, self.marginal, self.conditional),
            relative=self.scale == AUTO,
        )  # fmt: skip
