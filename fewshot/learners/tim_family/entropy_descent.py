"""What learners share that tune class vectors on the support's labels and the entropies of the queries' predictions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from episodes.episode import Support
from fewshot.learner import Learner, State
from fewshot.maths.centring import shifted
from fewshot.maths.information import tune
from fewshot.maths.prototype_head import check_metric
from fewshot.maths.spread import AUTO, check_auto
from fewshot.maths.transduction import SupportState, keep_support


class EntropyDescent(Learner):
    """Tunes one vector per class, from the class means: ``a CE(support) - b H(mean_q p_q) + c mean_q H(p_q)`` falls.

    A subclass has `steps`, `lr`, `scale` and `metric` among its arguments, and says in `_weights` what a, b and c
    are. Gradients are written out, so no graph is built.

    Class attributes:
        automatic: the argument that may be ``"auto"``, and what it then is; rows are first brought to a mean square
            distance of 1 from the mean of the support.

    Raises:
        ValueError: an unknown metric, that argument is neither "auto" nor positive, or steps is below 1.
    """

    transductive = True
    automatic: ClassVar[Mapping[str, float]] = {}

    steps: int
    lr: float | str
    scale: float | str
    metric: str

    def _settle(self) -> None:
        """Check the arguments that all have, once they are stored."""
        check_metric(self.metric)
        for name in self.automatic:
            check_auto(name, getattr(self, name))
        if self.steps < 1:
            raise ValueError(f"steps={self.steps}; it must be at least 1.")
        self.invariant = () if self.metric == "cosine" else ("offset",)

    def adapt(self, support: Support) -> State:
        """Keep the support."""
        return keep_support(support, relative=self.metric != "cosine")

    def predict(self, state: State, query: Tensor) -> Tensor:
        """Tune the class vectors on support and queries, then score the queries."""
        return self._tuned(state, query, alpha=None)

    def _weights(self) -> tuple[float, float, float]:
        """Of the support's loss, the entropy of the mean prediction, and the mean entropy of predictions."""
        raise NotImplementedError

    def _tuned(self, known: SupportState, query: Tensor, alpha: Tensor | None) -> Tensor:
        return tune(
            known, shifted(query, known.offset), metric=self.metric, scale=self._number("scale"), alpha=alpha,
            steps=self.steps, lr=self._number("lr"), weights=self._weights(),
            relative=any(getattr(self, name) == AUTO for name in self.automatic),
        )  # fmt: skip

    def _number(self, name: str) -> float:
        value: float | str = getattr(self, name)
        return self.automatic[name] if isinstance(value, str) else value
