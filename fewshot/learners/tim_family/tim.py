"""TIM-GD: class vectors that make the queries' predictions confident and balanced."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from fewshot.learners.tim_family.entropy_descent import EntropyDescent
from fewshot.maths.spread import AUTO
from fewshot.renamed import renamed


class TIM(EntropyDescent):
    """Maximises the mutual information of queries and labels, by gradient descent on the class vectors.

    From the class means W, Adam minimises
    ``ce CE(support) - marginal H(mean_q p_q) + conditional mean_q H(p_q)`` with
    ``p_q = softmax_n(-scale/2 |q - w_n|²)``. The second term asks for predictions that use all classes alike:
    it *assumes balanced queries* (`AlphaTIM` does not). Gradients are written out, so no graph is built.

    Args:
        steps: of Adam.
        lr: of Adam.
        scale: factor on the logits (the paper's τ); ``"auto"``: 10, and rows are first brought to a mean square
            distance of 1 from the mean of the support, so that neither offset nor size of the features matters.
        cross_entropy: weight of the support's loss (λ); three times the paper's, which was 1.1 points behind class
            means on sentiment, and gains on the mean of thirteen sets (``benchmarks/defaults.py``).
        marginal: weight of the entropy of the mean prediction.
        conditional: weight of the mean entropy of predictions (α).
        metric: ``"squared"`` as in the paper; or ``"cosine"``, ``"euclidean"``.

    Raises:
        ValueError: an unknown metric, or steps is below 1.

    The paper's setting: ``cl2n | tim(steps=1000, lr=1e-4, scale=15.0, cross_entropy=0.1)``, with base data for
    `cl2n`; the default takes a tenth of the steps.

    Reference: Boudiaf, Masud, Rony, Dolz, Piantanida, Ben Ayed, "Transductive information maximization for
    few-shot learning", NeurIPS 2020, arXiv:2008.11297.

    Example:
        >>> from episodes import EpisodeSampler, evaluate, load_dataset
        >>> digits = load_dataset("digits")
        >>> sampler = EpisodeSampler(digits.labels, way=5, shot=1, query=15)
        >>> results = evaluate(["prototypes", "tim"], digits, sampler, episodes=20)
        >>> round(results["prototypes"].mean, 1), round(results["tim"].mean, 1)
        (0.7, 0.8)
    """

    name: ClassVar[str] = "tim"
    automatic: ClassVar[Mapping[str, float]] = {"scale": 10.0}  # chosen by benchmarks/defaults.py

    @renamed(rate="lr")
    def __init__(
        self,
        steps: int = 100,
        lr: float = 1e-3,
        scale: float | str = AUTO,
        cross_entropy: float = 0.3,
        marginal: float = 1.0,
        conditional: float = 0.1,
        metric: str = "squared",
    ) -> None:
        super().__init__()
        self.steps, self.lr, self.scale, self.metric = steps, lr, scale, metric
        self.cross_entropy, self.marginal, self.conditional = cross_entropy, marginal, conditional
        self._settle()

    def _weights(self) -> tuple[float, float, float]:
        return self.cross_entropy, self.marginal, self.conditional
