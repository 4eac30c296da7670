"""Nearest class mean with a learned temperature."""

from __future__ import annotations

import math
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from episodes.episode import Episode, Support
from fewshot.learner import Learner
from fewshot.maths.linalg import class_means, normalize, product
from fewshot.maths.outliers import cosine_distance_to_means
from fewshot.maths.spread import spread_of_support


class ScaledState(NamedTuple):
    """Class means of length one, around zero and around the mean of the support."""

    prototypes: Tensor  # [E, N, D]
    absent: Tensor  # [E, N]
    centre: Tensor  # [E, 1, D], mean of the support
    centred: Tensor  # [E, N, D], times what cosines around that mean weigh


class ScaledPrototypes(Learner):
    """`Prototypes` by the cosine, whose scale on the logits is learned.

    ``logits = exp(log_scale) (cos(q, p_n) + centred r² cos(q - m, p_n - m))`` with one parameter; m is the mean of the
    support, and r² the mean square distance of its rows at length one from their mean. Untrained it is the nearest
    class mean by the cosine; trained (`fewshot.meta_train`), probabilities are calibrated, and the gradients that a
    trainable encoder in front of it gets (``conv4 | scaled-prototypes``) are neither flat nor saturated.

    Around zero a cosine sees how much of the common part of all features a query has. That tells spectrograms apart (11
    points before class means at one shot), but not drawings of characters (2 points behind); around the mean of the
    support it is the other way round. So both are added, the second as far as the first can differ, r².

    Args:
        scale: where it starts.
        centred: weight of cosines around the mean of the support, at least 0; the papers have none.

    Raises:
        ValueError: a scale that is not positive, or a weight below 0 or infinite.

    The papers' setting: ``scaled-prototypes(centred=0.0)``.

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

    def __init__(self, scale: float = 10.0, centred: float = 0.3) -> None:
        super().__init__()
        if scale <= 0 or not 0 <= centred < float("inf"):
            raise ValueError(
                f"scale={scale}, centred={centred!r}; the scale must be positive, centred at least 0 and finite."
            )
        self.scale = scale
        self.centred = centred
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)))

    def adapt(self, support: Support) -> ScaledState:
        """Average the normalised support of each class, as it is and around its mean."""
        unit = support.replace(support=normalize(support.support, dim=-1))
        prototypes, shots = class_means(unit)  # [E, N, D], [E, N]
        centre = spread_of_support(support).mean
        around, _ = class_means(support.replace(support=normalize(support.support - centre, dim=-1)))
        share = self.centred * spread_of_support(unit).root.square()  # [E, 1, 1]
        return ScaledState(normalize(prototypes, dim=-1), shots == 0, centre, share * normalize(around, dim=-1))

    def predict(self, state: ScaledState, query: Tensor) -> Tensor:
        """Scaled cosines with the class means."""
        cosines = product(normalize(query, dim=-1), state.prototypes.mT)  # [E, Q, N]
        if self.centred:
            cosines = cosines + product(normalize(query - state.centre, dim=-1), state.centred.mT)
        return (self.log_scale.exp().to(cosines) * cosines).masked_fill(state.absent.unsqueeze(1), -torch.inf)

    def outlier_score(self, episode: Episode, logits: Tensor) -> Tensor:
        """One minus the cosine with the nearest class mean, around zero."""
        return cosine_distance_to_means(episode)
