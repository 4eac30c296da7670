"""Learners that depend on what must not matter."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from broken_learners.honest import Honest, HonestTransductive, HonestZeroShot
from episodes import Episode
from episodes.episode import Support


class AveragesOverTheBatch(Honest):
    def adapt(self, episode: Episode) -> Any:
        means, absent = self.means(episode)
        return means + 1e-3 * means.mean(0, keepdim=True), absent


class PrefersClassZero(Honest):
    invariant = ("offset",)

    def predict(self, state: Any, query: Tensor) -> Tensor:
        logits = super().predict(state, query)
        return logits + (torch.arange(logits.shape[-1]) == 0)


class LeavesTextInPlace(HonestZeroShot):
    def adapt(self, episode: Episode) -> Any:
        means, absent = super().adapt(episode)
        return means + 0.01 * episode.text[:, :1], absent


class AssumesSortedSupport(Honest):
    def means(self, episode: Episode) -> tuple[Tensor, Tensor]:
        means, absent = super().means(episode)
        return means + 1e-2 * episode.support[:, :1], absent


class WeighsByQueryPosition(Honest):
    def predict(self, state: Any, query: Tensor) -> Tensor:
        return super().predict(state, query) * torch.arange(1, query.shape[1] + 1)[:, None]


class HidesThatItCentresTheQueries(HonestTransductive):
    transductive = False


class ForgetsTheMask(Honest):
    def means(self, episode: Episode) -> tuple[Tensor, Tensor]:
        return super().means(episode.replace(labels=episode.labels.clamp(min=0)))


class ForgetsTheMaskOfStatistics(HonestTransductive):
    def adapt(self, episode: Episode) -> Any:
        means, absent = self.means(episode)
        return means - episode.support.mean(1, keepdim=True), absent


class CentresOnPaddingWithText(HonestZeroShot):
    def adapt(self, episode: Episode) -> Any:
        means, absent = super().adapt(episode)
        padded = (episode.labels < 0).any(1) & (episode.labels < 0).all(1)
        return torch.where(padded[:, None, None], 0.0, means), absent


class MultipliesBeforeItSubtracts(Honest):
    """``|q|² - 2 q·p + |p|²``, the usual way, which loses all digits far from zero."""

    def predict(self, state: Any, query: Tensor) -> Tensor:
        means, absent = state
        cross = query.flatten(2) @ means.mT
        squares = query.flatten(2).square().sum(-1)[..., None] + means.square().sum(-1)[:, None]
        return (-self.factor * (squares - 2 * cross)).masked_fill(absent[:, None], -torch.inf)


class LimitsTheDistance(Honest):
    def predict(self, state: Any, query: Tensor) -> Tensor:
        return super().predict(state, query).clamp(min=-1e5, max=-1e-5)


class Unrepeatable(Honest):
    calls = 0

    def predict(self, state: Any, query: Tensor) -> Tensor:
        Unrepeatable.calls += 1
        return super().predict(state, query) + Unrepeatable.calls % 2


class ComputesOnTheProcessor(Honest):
    def predict(self, state: Any, query: Tensor) -> Tensor:
        self.cpu()
        return super().predict(tuple(part.cpu() for part in state), query.cpu())


class LeavesNothingOut(Honest):
    def adapt_without(self, state: Any, support: Support, left: Tensor) -> Any:
        return tuple(part.expand(len(left), *part.shape[1:]) for part in state)


BROKEN: list[tuple[str, type[Honest]]] = [
    ("episodes_are_independent", AveragesOverTheBatch),
    ("class_order_does_not_matter", PrefersClassZero),
    ("class_order_does_not_matter", LeavesTextInPlace),
    ("support_order_does_not_matter", AssumesSortedSupport),
    ("query_order_does_not_matter", WeighsByQueryPosition),
    ("inductive_flag_is_honest", HidesThatItCentresTheQueries),
    ("padding_is_ignored", ForgetsTheMask),
    ("padding_is_ignored", ForgetsTheMaskOfStatistics),
    ("padding_is_ignored", CentresOnPaddingWithText),
    ("rows_can_be_left_out", LeavesNothingOut),
    ("offset_does_not_matter", MultipliesBeforeItSubtracts),
    ("scale_does_not_matter", LimitsTheDistance),
    ("is_deterministic", Unrepeatable),
    ("accelerator_equals_cpu", ComputesOnTheProcessor),
]
