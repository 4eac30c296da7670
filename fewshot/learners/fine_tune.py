"""Fine-tuning of a classifier on frozen features, by gradient descent."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from episodes.episode import Episode, Support
from fewshot.learner import Learner
from fewshot.maths.descent import Descent
from fewshot.maths.head_tuning import tune_linear, tune_prototypes
from fewshot.maths.linalg import product
from fewshot.maths.outliers import cosine_distance_to_means, distance_to_means
from fewshot.maths.prototype_head import METRICS, PrototypeHead
from fewshot.maths.spread import AUTO, Spread, check_auto, spread_of_support
from fewshot.maths.transduction import keep_support
from fewshot.renamed import renamed

_AUTO = {"linear": 3.0, "cosine": 0.1, "squared": 0.03, "euclidean": 0.03}  # chosen by benchmarks/defaults.py


class FineTuneState(NamedTuple):
    """One vector per class, and what is added to its logit (zero, or ``-inf`` for an absent class)."""

    weight: Tensor  # [E, N, D]
    bias: Tensor  # [E, N]
    spread: Spread  # by which rows are rescaled


class FineTune(Learner):
    """Tunes a classifier on the support by gradient descent, all episodes of a batch at once.

    With ``head="linear"``, the "Baseline" of the paper: ``logits = W q + b`` from zero. With a metric, one vector
    per class from the class means: ``"cosine"``: ``scale cos(q, w_n)``; ``"squared"``: ``-scale/2 |q - w_n|²``;
    ``"euclidean"``: ``-scale |q - w_n|``. Every step sees the whole support; gradients are written out.

    Args:
        head: ``"linear"``, ``"cosine"``, ``"squared"`` or ``"euclidean"``.
        steps: of the optimiser.
        lr: of the optimiser; ``"auto"``: one that suits features of mean square 1, and rows are first brought to
            that, around the mean of the support, so that neither offset nor size of the features matters.
        optimizer: ``"sgd"`` (with momentum 0.9, as in the paper) or ``"adam"``, whose steps have the size of the rate
            however small a gradient is, so that rounding shows in features that say nothing.
        weight_decay: of the weights, added to the gradient.
        scale: factor on the logits of a metric.

    Raises:
        ValueError: an unknown name, or an argument out of range.

    The released code's setting: ``fine-tune(lr=0.01)``.

    Reference: Chen, Liu, Kira, Wang, Huang, "A closer look at few-shot classification", ICLR 2019,
    arXiv:1904.04232.

    Example:
        >>> from episodes import EpisodeSampler, evaluate, load_dataset
        >>> digits = load_dataset("digits")
        >>> sampler = EpisodeSampler(digits.labels, way=5, shot=5, query=15)
        >>> results = evaluate(["fine-tune"], digits, sampler, episodes=20)
        >>> round(results["fine-tune"].mean, 1)
        0.9
    """

    name: ClassVar[str] = "fine-tune"

    @renamed(rate="lr", optimiser="optimizer", decay="weight_decay")
    def __init__(
        self,
        head: str = "linear",
        steps: int = 100,
        lr: float | str = AUTO,
        optimizer: str = "sgd",
        weight_decay: float = 1e-3,
        scale: float = 10.0,
    ) -> None:
        super().__init__()
        if head != "linear" and head not in METRICS:
            raise ValueError(f"head={head!r}; it must be one of linear, {', '.join(METRICS)}.")
        check_auto("lr", lr)
        if lr == AUTO and optimizer == "adam":
            raise ValueError("lr='auto' is a rate of SGD; with optimizer='adam' it must be a number, such as 0.001.")
        self.lr = lr
        self.head = head
        Descent(optimizer, steps, self._rate(), weight_decay).check()
        self.steps = steps
        self.optimizer = optimizer
        self.weight_decay = weight_decay
        self.scale = scale

    @torch.no_grad()
    def adapt(self, support: Support) -> FineTuneState:
        """Descend."""
        spread = spread_of_support(support).where(self.lr == AUTO)
        known = keep_support(support.replace(support=spread.rescale(support.support)))
        how = Descent(self.optimizer, self.steps, self._rate(), self.weight_decay)
        if self.head == "linear":
            weight, bias = tune_linear(known.support, known.one_hot, known.absent, how)
        else:
            weight = tune_prototypes(
                known.prototypes, known.support, known.one_hot, known.absent, self.head, self.scale, how
            )
            bias = weight.new_zeros(known.absent.shape)
        return FineTuneState(weight, bias.masked_fill(known.absent, -torch.inf), spread)

    def predict(self, state: FineTuneState, query: Tensor) -> Tensor:
        """Score the queries."""
        query = state.spread.rescale(query)
        if self.head == "linear":
            return product(query, state.weight.mT) + state.bias.unsqueeze(1)  # [E, Q, N]
        absent = state.bias == -torch.inf
        return PrototypeHead(self.head, self.scale, query, absent, state.weight).logits(state.weight)

    def outlier_score(self, episode: Episode, logits: Tensor) -> Tensor:
        """The squared distance to the nearest class mean; of the cosine head one minus the cosine with it."""
        return cosine_distance_to_means(episode) if self.head == "cosine" else distance_to_means(episode)

    def _rate(self) -> float:
        return _AUTO[self.head] if isinstance(self.lr, str) else self.lr
