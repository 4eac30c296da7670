"""Learners that change, keep or read what is not theirs."""

from __future__ import annotations

import random
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from broken_learners.honest import Honest
from episodes import Episode


class MutatesItsInput(Honest):
    def adapt(self, episode: Episode) -> Any:
        episode.support.mul_(1.0)
        return super().adapt(episode)


class SeedsTheWorld(Honest):
    def predict(self, state: Any, query: Tensor) -> Tensor:
        torch.manual_seed(0)
        return super().predict(state, query)


class DrawsFromNumpy(Honest):
    def predict(self, state: Any, query: Tensor) -> Tensor:
        np.random.rand()  # noqa: NPY002
        return super().predict(state, query)


class DrawsFromRandom(Honest):
    def predict(self, state: Any, query: Tensor) -> Tensor:
        random.random()
        return super().predict(state, query)


class StateHoldsTheWay(Honest):
    def adapt(self, episode: Episode) -> Any:
        return (*self.means(episode), episode.way)

    def predict(self, state: Any, query: Tensor) -> Tensor:
        return super().predict(state[:2], query)


class StateWithoutEpisodes(Honest):
    def adapt(self, episode: Episode) -> Any:
        return (*self.means(episode), torch.ones(episode.way))

    def predict(self, state: Any, query: Tensor) -> Tensor:
        return super().predict(state[:2], query)


class StateInTheWrongOrder(Honest):
    def adapt(self, episode: Episode) -> Any:
        means, absent = self.means(episode)
        return means.flip(0), absent

    def predict(self, state: Any, query: Tensor) -> Tensor:
        return super().predict((state[0].flip(0), state[1]), query)


class EmptyState(Honest):
    def adapt(self, episode: Episode) -> Any:
        self.learned = self.means(episode)
        return ()

    def predict(self, state: Any, query: Tensor) -> Tensor:
        return super().predict(self.learned, query)


class PeeksAtTheQuery(Honest):
    def adapt(self, episode: Episode) -> Any:
        means, absent = self.means(episode)
        return means + 0.01 * episode.query.mean(1, keepdim=True), absent


class CountsTheQueries(Honest):
    def adapt(self, episode: Episode) -> Any:
        means, absent = self.means(episode)
        return means * (1 + 0.01 * episode.query.shape[1]), absent


class RemembersTheEpisode(Honest):
    def adapt(self, episode: Episode) -> Any:
        self.last = episode.labels
        return super().adapt(episode)


class FillsAContainer(Honest):
    def __init__(self, scale: float = 1.0) -> None:
        super().__init__(scale)
        self.seen = {"last": torch.zeros(1)}

    def adapt(self, episode: Episode) -> Any:
        self.seen["last"] = self.seen["last"] + 1
        return super().adapt(episode)


class TrainsItself(Honest):
    def adapt(self, episode: Episode) -> Any:
        self.factor.detach().mul_(1.001)
        return super().adapt(episode)


class ServesTheLatestEpisode(Honest):
    latest: ClassVar[list[Any]] = []

    def adapt(self, episode: Episode) -> Any:
        type(self).latest[:] = [self.means(episode)]
        return torch.zeros(len(episode))

    def predict(self, state: Any, query: Tensor) -> Tensor:
        return super().predict(self.latest[0], query)


BROKEN: list[tuple[str, type[Honest]]] = [
    ("inputs_are_not_changed", MutatesItsInput),
    ("global_random_numbers_are_untouched", SeedsTheWorld),
    ("global_random_numbers_are_untouched", DrawsFromNumpy),
    ("global_random_numbers_are_untouched", DrawsFromRandom),
    ("state_is_tensors", StateHoldsTheWay),
    ("state_is_tensors", StateWithoutEpisodes),
    ("state_is_tensors", StateInTheWrongOrder),
    ("state_is_tensors", EmptyState),
    ("adapt_does_not_read_the_query", PeeksAtTheQuery),
    ("adapt_does_not_read_the_query", CountsTheQueries),
    ("nothing_is_kept", RemembersTheEpisode),
    ("nothing_is_kept", FillsAContainer),
    ("nothing_is_kept", TrainsItself),
    ("nothing_is_kept", ServesTheLatestEpisode),
]
