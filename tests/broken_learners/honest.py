"""Learners that pass every check, from which the broken ones derive."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from episodes import Episode
from fewshot.learner import Learner


class Honest(Learner):
    """Nearest class mean with a learned scale, written as plainly as can be."""

    name: ClassVar[str] = "honest"
    invariant = ("offset", "scale")

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale
        self.factor = torch.nn.Parameter(torch.tensor(float(scale)))

    def means(self, episode: Episode) -> tuple[Tensor, Tensor]:
        one_hot = episode.one_hot
        shots = one_hot.sum(1)
        return one_hot.mT @ episode.support.flatten(2) / shots.clamp(min=1)[..., None], shots == 0

    def adapt(self, episode: Episode) -> Any:
        return self.means(episode)

    def predict(self, state: Any, query: Tensor) -> Tensor:
        means, absent = state
        distances = (query.flatten(2)[:, :, None] - means[:, None]).square().sum(-1)
        return (-self.factor * distances).masked_fill(absent[:, None], -torch.inf)


class HonestImages(Honest):
    inputs = "images"
    item_shape = (1, 4, 4)


class HonestZeroShot(Honest):
    needs = ("support", "text")

    def adapt(self, episode: Episode) -> Any:
        means, absent = self.means(episode)
        return torch.where(absent[..., None], episode.text, means), torch.zeros_like(absent)


class HonestTransductive(Honest):
    """Centres support and queries, each on its own mean."""

    transductive = True

    def adapt(self, episode: Episode) -> Any:
        means, absent = self.means(episode)
        return means - means.mean(1, keepdim=True), absent

    def predict(self, state: Any, query: Tensor) -> Tensor:
        return super().predict(state, query - query.mean(1, keepdim=True))


class HonestWeights(Honest):
    """Means of rows seen through a random matrix, as a parameter."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__(scale)
        self.matrix = torch.nn.Parameter(torch.eye(16) + 0.01 * torch.randn(16, 16))

    def means(self, episode: Episode) -> tuple[Tensor, Tensor]:
        return super().means(episode.replace(support=episode.support @ self.matrix.to(episode.support)))

    def predict(self, state: Any, query: Tensor) -> Tensor:
        return super().predict(state, query @ self.matrix.to(query))


class HonestInnerLoop(Honest):
    """Takes one gradient step from the class means on the support, gradients enabled for that."""

    def adapt(self, episode: Episode) -> Any:
        with torch.enable_grad():
            return self.step(episode)

    def step(self, episode: Episode) -> Any:
        means, absent = self.means(episode)
        means = means if means.requires_grad else means.requires_grad_()
        distances = (episode.support[:, :, None] - means[:, None]).square().sum(-1)
        (slope,) = torch.autograd.grad((episode.one_hot * distances).sum(), means, create_graph=True)
        return means - 0.01 * slope, absent
