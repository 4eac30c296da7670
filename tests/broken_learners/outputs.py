"""Learners that answer wrongly, or not at all, where a check of the outputs looks."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from broken_learners.honest import Honest, HonestTransductive, HonestZeroShot
from episodes import Episode


class WrongShape(Honest):
    def predict(self, state: Any, query: Tensor) -> Tensor:
        return super().predict(state, query).mT


class CastsToFloat32(Honest):
    def predict(self, state: Any, query: Tensor) -> Tensor:
        return super().predict(state, query).float()


class WrongSign(Honest):
    def predict(self, state: Any, query: Tensor) -> Tensor:
        means, absent = state
        return -super().predict((means, torch.zeros_like(absent)), query)


class AcceptsNoSupport(Honest):
    def check(self, episode: Episode) -> None:
        pass


class IgnoresTheText(HonestZeroShot):
    def adapt(self, episode: Episode) -> Any:
        means, absent = self.means(episode)
        return means, torch.zeros_like(absent)


class InventsText(HonestZeroShot):
    def check(self, episode: Episode) -> None:
        pass

    def adapt(self, episode: Episode) -> Any:
        if episode.text is None:
            rows = episode.support
            episode = episode.replace(text=rows.new_zeros(len(rows), episode.way, rows.shape[-1]))
        return super().adapt(episode)


class DividesByTheVariance(Honest):
    def means(self, episode: Episode) -> tuple[Tensor, Tensor]:
        means, absent = super().means(episode)
        rest = episode.support - episode.one_hot @ means
        variance = rest.square().sum((1, 2), keepdim=True)
        return means * (variance / variance), absent


class AssumesEqualShots(Honest):
    def means(self, episode: Episode) -> tuple[Tensor, Tensor]:
        means, absent = super().means(episode)
        equal = (episode.shots == episode.shots[:, :1]).all(1)
        return torch.where(equal[:, None, None], means, torch.nan), absent


class SharesTheShotOfTheBatch(Honest):
    def means(self, episode: Episode) -> tuple[Tensor, Tensor]:
        means, absent = super().means(episode)
        return means * (1 + 0.01 * episode.support.shape[1]), absent


class NeedsTwoQueries(HonestTransductive):
    def predict(self, state: Any, query: Tensor) -> Tensor:
        return super().predict(state, query) / (query.shape[1] - 1)


class SqueezesOneQuery(Honest):
    def predict(self, state: Any, query: Tensor) -> Tensor:
        return super().predict(state, query).squeeze(1)


class PutsAbsentClassesAtTheOrigin(Honest):
    def adapt(self, episode: Episode) -> Any:
        means, absent = self.means(episode)
        return means, torch.zeros_like(absent)


class ExcludesClassesKnownByText(HonestZeroShot):
    def adapt(self, episode: Episode) -> Any:
        return self.means(episode)


class NeedsTwoClasses(Honest):
    def means(self, episode: Episode) -> tuple[Tensor, Tensor]:
        means, absent = super().means(episode)
        return means / ((~absent).sum(1) > 1)[:, None, None], absent


class NeedsNumbers(Honest):
    def adapt(self, episode: Episode) -> Any:
        assert episode.ids is not None
        return super().adapt(episode)


class MixesUnlabelledRows(Honest):
    def means(self, episode: Episode) -> tuple[Tensor, Tensor]:
        means, absent = super().means(episode)
        if episode.unlabelled is not None:
            means = means + 0.01 * episode.unlabelled.mean((0, 1))
        return means, absent


class DividesByTheNorm(Honest):
    def predict(self, state: Any, query: Tensor) -> Tensor:
        return super().predict(state, query / query.norm(dim=-1, keepdim=True))


BROKEN: list[tuple[str, type[Honest]]] = [
    ("shape_and_dtype", WrongShape),
    ("shape_and_dtype", CastsToFloat32),
    ("learns_separable_classes", WrongSign),
    ("zero_shot", AcceptsNoSupport),
    ("zero_shot", IgnoresTheText),
    ("missing_text_is_refused", InventsText),
    ("one_shot", DividesByTheVariance),
    ("unequal_shots", AssumesEqualShots),
    ("unequal_shots", SharesTheShotOfTheBatch),
    ("one_query", NeedsTwoQueries),
    ("one_query", SqueezesOneQuery),
    ("absent_classes_are_never_chosen", PutsAbsentClassesAtTheOrigin),
    ("absent_classes_are_never_chosen", ExcludesClassesKnownByText),
    ("absent_classes_are_never_chosen", NeedsTwoClasses),
    ("episode_numbers_are_optional", NeedsNumbers),
    ("unlabelled_rows_are_accepted", MixesUnlabelledRows),
    ("degenerate_rows_give_no_nan", DividesByTheNorm),
]
