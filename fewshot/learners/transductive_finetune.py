"""Transductive fine-tuning: fit the support, and be sure about the queries."""

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

_AUTO = 1e-4  # chosen by benchmarks/defaults.py


class TransductiveFineTune(Learner):
    """Tunes a classifier, from the class means, on the support's labels and the queries' entropy.

    Adam minimises ``CE(support) + entropy mean_q H(p_q)``. The paper tunes the backbone as well; here
    features are frozen, and one vector per class is tuned. Gradients are written out.

    Args:
        steps: of Adam.
        rate: of Adam; ``"auto"``: 1e-4, and rows are first brought to a mean square distance of 1 from the mean of the
            support, so that neither offset nor size of the features matters.
        scale: factor on the logits.
        entropy: weight of the mean entropy of predictions.
        metric: ``"cosine"``; or ``"squared"``, ``"euclidean"``.

    Raises:
        ValueError: an unknown metric, a rate that is neither "auto" nor positive, or steps is below 1.

    The paper's setting (its rate is that of a backbone): ``transductive-finetune(rate=5e-5, entropy=1.0)``.

    Reference: Dhillon, Chaudhari, Ravichandran, Soatto, "A baseline for few-shot image classification",
    ICLR 2020, arXiv:1909.02729.
    """

    name: ClassVar[str] = "transductive-finetune"
    transductive = True

    def __init__(
        self,
        steps: int = 25,
        rate: float | str = AUTO,
        scale: float = 10.0,
        entropy: float = 0.1,
        metric: str = "cosine",
    ) -> None:
        super().__init__()
        check_metric(metric)
        check_auto("rate", rate)
        if steps < 1:
            raise ValueError(f"steps={steps}; it must be at least 1.")
        self.steps = steps
        self.rate = rate
        self.scale = scale
        self.entropy = entropy
        self.metric = metric
        self.invariant = () if metric == "cosine" else ("offset",)

    def adapt(self, support: Support) -> SupportState:
        """Keep the support."""
        return keep_support(support, relative=self.metric != "cosine")

    def predict(self, state: SupportState, query: Tensor) -> Tensor:
        """Tune the class vectors on support and queries, then score the queries."""
        query = shifted(query, state.offset)
        return tune(
            state, query, metric=self.metric, scale=self.scale, alpha=None, steps=self.steps,
            rate=_AUTO if isinstance(self.rate, str) else self.rate, weights=(1.0, 0.0, self.entropy),
            relative=self.rate == AUTO,
        )  # fmt: skip
