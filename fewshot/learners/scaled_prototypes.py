"""Nearest class mean with a learned temperature."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from episodes.episode import Episode, Support
from fewshot.learner import Learner
from fewshot.learner import State as State
from fewshot.maths.linalg import class_means, normalize, product


class ScaledPrototypes(Learner):
    """`Prototypes` by the cosine, whose scale on the logits is learned.

    ``logits = exp(log_scale) cos(q, p_n)`` with one parameter. Untrained it is the nearest class mean by the
    cosine; trained (`fewshot.meta_train`), probabilities are calibrated, and the gradients that a trainable
    encoder in front of it gets (``conv4 | scaled-prototypes``) are neither flat nor saturated.

    Args:
        scale: where it starts.

    Raises:
        ValueError: a scale that is not positive.

    Reference: Oreshkin, Rodríguez López, Lacoste, "TADAM: task dependent adaptive metric for improved few-shot
    learning", NeurIPS 2018, arXiv:1805.10123; Gidaris, Komodakis, "Dynamic few-shot visual learning without
    forgetting", CVPR 2018, arXiv:1804.09458.

    Example:
        >>> from episodes import EpisodeSampler, evaluate, load_dataset
        >>> from fewshot import meta_train
        >>> digits = load_dataset("digits")
        >>> sampler = EpisodeSampler(digits.labels, way=5, shot=5, query=15)
        >>> trained = meta_train("scaled-prototypes", digits, sampler, steps=20, lr=0.01, progress=False).learner
        >>> round(evaluate({"scaled-prototypes": trained}, digits, sampler, episodes=20)["scaled-prototypes"].mean, 1)
        0.9
    """

    name: ClassVar[str] = "scaled-prototypes"
    invariant = ("scale",)
    weighted = True

    def __init__(self, scale: float = 10.0) -> None:
        super().__init__()
        if scale <= 0:
            raise ValueError(f"scale={scale}; it must be positive.")
        self.scale = scale
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)))

    def adapt(self, support: Support) -> State:
        """Average the normalised support of each class."""
        prototypes, shots = class_means(support.replace(support=normalize(support.support, dim=-1)))
        return normalize(prototypes, dim=-1), shots == 0  # [E, N, D], [E, N]

    def predict(self, state: State, query: Tensor) -> Tensor:
        """Scaled cosines with the class means."""
        prototypes, absent = state
        cosines = product(normalize(query, dim=-1), prototypes.mT)  # [E, Q, N]
        return (self.log_scale.exp().to(cosines) * cosines).masked_fill(absent.unsqueeze(1), -torch.inf)

    def outlier_score(self, episode: Episode, logits: Tensor) -> Tensor:
        """Minus the cosine with the nearest class mean, times the scale."""
        return -logits.amax(-1)
