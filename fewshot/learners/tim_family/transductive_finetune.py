"""Transductive fine-tuning: fit the support, and be sure about the queries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from fewshot.learners.tim_family.entropy_descent import EntropyDescent
from fewshot.maths.spread import AUTO
from fewshot.renamed import renamed


class TransductiveFineTune(EntropyDescent):
    """Tunes a classifier, from the class means, on the support's labels and the queries' entropy.

    Adam minimises ``CE(support) + entropy mean_q H(p_q)``. The paper tunes the backbone as well; here
    features are frozen, and one vector per class is tuned. Gradients are written out.

    Args:
        steps: of Adam.
        lr: of Adam; ``"auto"``: 1e-4, and rows are first brought to a mean square distance of 1 from the mean of the
            support, so that neither offset nor size of the features matters.
        scale: factor on the logits.
        entropy: weight of the mean entropy of predictions.
        metric: ``"cosine"``; or ``"squared"``, ``"euclidean"``.

    Raises:
        ValueError: an unknown metric, an lr that is neither "auto" nor positive, or steps is below 1.

    The paper's setting (its rate is that of a backbone): ``transductive-finetune(lr=5e-5, entropy=1.0)``.

    Reference: Dhillon, Chaudhari, Ravichandran, Soatto, "A baseline for few-shot image classification",
    ICLR 2020, arXiv:1909.02729.

    Example:
        >>> from episodes import EpisodeSampler, evaluate, load_dataset
        >>> digits = load_dataset("digits")
        >>> sampler = EpisodeSampler(digits.labels, way=5, shot=5, query=15)
        >>> results = evaluate(["transductive-finetune"], digits, sampler, episodes=20)
        >>> round(results["transductive-finetune"].mean, 1)
        0.9
    """

    name: ClassVar[str] = "transductive-finetune"
    automatic: ClassVar[Mapping[str, float]] = {"lr": 1e-4}  # chosen by benchmarks/defaults.py

    @renamed(rate="lr")
    def __init__(
        self,
        steps: int = 25,
        lr: float | str = AUTO,
        scale: float = 10.0,
        entropy: float = 0.1,
        metric: str = "cosine",
    ) -> None:
        super().__init__()
        self.steps, self.lr, self.scale, self.metric = steps, lr, scale, metric
        self.entropy = entropy
        self._settle()

    def _weights(self) -> tuple[float, float, float]:
        return 1.0, 0.0, self.entropy
