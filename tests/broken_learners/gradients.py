"""Learners through which gradients do not pass as they should."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from broken_learners.honest import Honest, HonestInnerLoop
from episodes import Episode


class CutsTheGraph(Honest):
    def predict(self, state: Any, query: Tensor) -> Tensor:
        return super().predict(state, query).detach()


class ForgetsAParameter(Honest):
    def __init__(self, scale: float = 1.0) -> None:
        super().__init__(scale)
        self.unused = torch.nn.Parameter(torch.zeros(3))


class MultipliesAParameterByZero(ForgetsAParameter):
    def predict(self, state: Any, query: Tensor) -> Tensor:
        return super().predict(state, query) + 0 * self.unused.sum()


class TakesARootOfZero(Honest):
    def means(self, episode: Episode) -> tuple[Tensor, Tensor]:
        means, absent = super().means(episode)
        return means + (means - means).square().sum(-1, keepdim=True).sqrt(), absent


class DetachesHalfOfThePath(Honest):
    def predict(self, state: Any, query: Tensor) -> Tensor:
        means, absent = state
        cross = (query[:, :, None] * means[:, None].detach()).sum(-1)
        logits = self.factor * (2 * cross - means.square().sum(-1)[:, None])
        return logits.masked_fill(absent[:, None], -torch.inf)


class NeedsTheOuterGradientMode(HonestInnerLoop):
    def adapt(self, episode: Episode) -> Any:
        return self.step(episode)


class StopsAdaptingWithoutGradients(Honest):
    def adapt(self, episode: Episode) -> Any:
        means, absent = self.means(episode)
        return means * (1.01 if torch.is_grad_enabled() else 1.0), absent


BROKEN: list[tuple[str, type[Honest]]] = [
    ("gradients_reach_everything", CutsTheGraph),
    ("gradients_reach_everything", ForgetsAParameter),
    ("gradients_reach_everything", MultipliesAParameterByZero),
    ("gradients_reach_everything", TakesARootOfZero),
    ("gradients_match_finite_differences", DetachesHalfOfThePath),
    ("gradient_mode_does_not_matter", NeedsTheOuterGradientMode),
    ("gradient_mode_does_not_matter", StopsAdaptingWithoutGradients),
]
