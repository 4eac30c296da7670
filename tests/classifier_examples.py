"""Learners to put into a `FewShotClassifier`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from episodes import Episode
from fewshot import list_learners, load_learner
from fewshot.learners.prototypes import Prototypes


def feature_learners(*, transductive: bool = False) -> list[str]:
    """Names of the registered learners that need nothing but labelled features."""
    made = {name: load_learner(name) for name in list_learners()}
    return [
        name
        for name, learner in made.items()
        if learner.inputs == "features"
        and learner.needs == ("support",)
        and learner.transductive == transductive
        and not hasattr(learner, "item_shape")  # made for rows of one size
    ]


class Weighted(Prototypes):
    """Class means under a learned weight of each feature."""

    name = "weighted"

    def __init__(self, features: int = 64, scale: float = 1.0) -> None:
        super().__init__(scale=scale)
        self.features = features
        self.weight = nn.Parameter(torch.ones(features))

    def adapt(self, episode: Episode) -> Any:
        return super().adapt(episode.replace(support=episode.support * self.weight))

    def predict(self, state: Any, query: Tensor) -> Tensor:
        return super().predict(state, query * self.weight)
