"""Fine-tuning of a classifier on frozen features, by gradient descent."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from episodes.episode import Episode
from fewshot.learner import Learner
from fewshot.maths.head_tuning import Descent, tune_linear, tune_prototypes
from fewshot.maths.linalg import product
from fewshot.maths.prototype_head import METRICS, PrototypeHead
from fewshot.maths.transduction import keep_support


class FineTuneState(NamedTuple):
    """One vector per class, and what is added to its logit (zero, or ``-inf`` for an absent class)."""

    weight: Tensor  # [E, N, D]
    bias: Tensor  # [E, N]


class FineTune(Learner):
    """Tunes a classifier on the support by gradient descent, all episodes of a batch at once.

    With ``head="linear"``, the "Baseline" of the paper: ``logits = W q + b`` from zero. With a metric, one vector
    per class from the class means: ``"cosine"``: ``scale cos(q, w_n)``; ``"squared"``: ``-scale/2 |q - w_n|²``;
    ``"euclidean"``: ``-scale |q - w_n|``. Every step sees the whole support; gradients are written out.

    Args:
        head: ``"linear"``, ``"cosine"``, ``"squared"`` or ``"euclidean"``.
        steps: of the optimiser.
        rate: of the optimiser.
        optimiser: ``"sgd"`` (with momentum 0.9, as in the paper) or ``"adam"``, whose steps have the size of the rate
            however small a gradient is, so that rounding shows in features that say nothing.
        decay: of the weights, added to the gradient.
        scale: factor on the logits of a metric.

    Raises:
        ValueError: an unknown name, or an argument out of range.

    Reference: Chen, Liu, Kira, Wang, Huang, "A closer look at few-shot classification", ICLR 2019,
    arXiv:1904.04232.
    """

    name: ClassVar[str] = "fine-tune"

    def __init__(
        self,
        head: str = "linear",
        steps: int = 100,
        rate: float = 0.01,
        optimiser: str = "sgd",
        decay: float = 1e-3,
        scale: float = 10.0,
    ) -> None:
        super().__init__()
        if head != "linear" and head not in METRICS:
            raise ValueError(f"head={head!r}; it must be one of linear, {', '.join(METRICS)}.")
        Descent(optimiser, steps, rate, decay).check()
        self.head = head
        self.steps = steps
        self.rate = rate
        self.optimiser = optimiser
        self.decay = decay
        self.scale = scale

    def adapt(self, episode: Episode) -> FineTuneState:
        """Descend."""
        known = keep_support(episode)
        how = Descent(self.optimiser, self.steps, self.rate, self.decay)
        if self.head == "linear":
            weight, bias = tune_linear(known.support, known.one_hot, known.absent, how)
        else:
            weight = tune_prototypes(
                known.prototypes, known.support, known.one_hot, known.absent, self.head, self.scale, how
            )
            bias = weight.new_zeros(known.absent.shape)
        return FineTuneState(weight, bias.masked_fill(known.absent, -torch.inf))

    def predict(self, state: FineTuneState, query: Tensor) -> Tensor:
        """Score the queries."""
        if self.head == "linear":
            return product(query, state.weight.mT) + state.bias.unsqueeze(1)  # [E, Q, N]
        absent = state.bias == -torch.inf
        return PrototypeHead(self.head, self.scale, query, absent).logits(state.weight)
