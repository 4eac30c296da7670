"""Baseline++: a cosine classifier tuned on the support."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from episodes.episode import Episode, Support
from fewshot.learner import Learner
from fewshot.maths.descent import Descent
from fewshot.maths.head_tuning import tune_prototypes
from fewshot.maths.linalg import normalize, product
from fewshot.maths.outliers import cosine_distance_to_means
from fewshot.maths.transduction import keep_support
from fewshot.renamed import renamed


class CosineState(NamedTuple):
    """Class vectors of length one."""

    weight: Tensor  # [E, N, D]
    absent: Tensor  # [E, N]


class BaselinePlusPlus(Learner):
    """Tunes a cosine classifier, ``logits = scale cos(q, w_n)``, on the support by gradient descent.

    The paper draws W at random; here it begins at the class means, so that nothing is random, and every step
    sees the whole support. Rate and scale hold on features of any size, as only their directions count.

    Args:
        steps: of SGD with momentum 0.9.
        lr: of SGD.
        scale: factor on the logits.
        weight_decay: of the weights.

    Raises:
        ValueError: an argument out of range.

    The released code's setting: ``baseline++(lr=0.01, scale=2.0)``.

    Reference: Chen, Liu, Kira, Wang, Huang, "A closer look at few-shot classification", ICLR 2019,
    arXiv:1904.04232.

    Example:
        >>> from episodes import EpisodeSampler, evaluate, load_dataset
        >>> digits = load_dataset("digits")
        >>> sampler = EpisodeSampler(digits.labels, way=5, shot=5, query=15)
        >>> results = evaluate(["baseline++(steps=50)"], digits, sampler, episodes=20)
        >>> round(results["baseline++(steps=50)"].mean, 1)
        0.9
    """

    name: ClassVar[str] = "baseline++"
    invariant = ("scale",)

    @renamed(rate="lr", decay="weight_decay")
    def __init__(self, steps: int = 100, lr: float = 0.1, scale: float = 20.0, weight_decay: float = 1e-3) -> None:
        super().__init__()
        Descent("sgd", steps, lr, weight_decay).check()
        self.steps = steps
        self.lr = lr
        self.scale = scale
        self.weight_decay = weight_decay

    def adapt(self, support: Support) -> CosineState:
        """Descend from the means of the support rows, each of length one."""
        known = keep_support(support.replace(support=normalize(support.support, dim=-1)))
        how = Descent("sgd", self.steps, self.lr, self.weight_decay)
        start = normalize(known.prototypes, dim=-1)
        weight = tune_prototypes(start, known.support, known.one_hot, known.absent, "cosine", self.scale, how)
        return CosineState(normalize(weight, dim=-1), known.absent)

    def predict(self, state: CosineState, query: Tensor) -> Tensor:
        """Score the queries."""
        logits = self.scale * product(normalize(query, dim=-1), state.weight.mT)  # [E, Q, N]
        return logits.masked_fill(state.absent.unsqueeze(1), -torch.inf)

    def outlier_score(self, episode: Episode, logits: Tensor) -> Tensor:
        """One minus the cosine with the nearest class mean: tuned vectors point to where known classes differ."""
        return cosine_distance_to_means(episode)
