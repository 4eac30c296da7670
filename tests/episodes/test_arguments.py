"""Swapped and mistaken arguments of `evaluate` are refused in words that say what each should be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from episodes import EpisodeSampler, TensorSource, evaluate

ROWS = torch.eye(4).repeat_interleave(10, 0)
SOURCE = TensorSource(ROWS, np.arange(40) // 10, name="toy")
SAMPLER = EpisodeSampler(SOURCE.labels, way=3, shot=1, query=2)


class Own:
    """A sampler and a learner of one's own, which need no base class."""

    def draw(self, first: int, count: int) -> Any:
        return SAMPLER.draw(first, count)

    def recipe(self) -> dict[str, Any]:
        return SAMPLER.recipe()


@pytest.mark.parametrize(
    ("arguments", "messages"),
    [
        (("prototypes", SAMPLER, SOURCE), ["source is a sampler (EpisodeSampler)", "sampler is a source (TensorSource)"]),
        ((SOURCE, "prototypes", SAMPLER), ["learners is a source", "source is the string 'prototypes'"]),
        ((SAMPLER, SOURCE, "prototypes"), ["learners is a sampler", "sampler is the string 'prototypes'"]),
        (("prototypes", Path("photos"), SAMPLER), ["source is the path 'photos'", "load_dataset(name)"]),
        (("prototypes", "digits", SAMPLER), ["source is the string 'digits'", "load_dataset(name)"]),
        (("prototypes", ROWS, SAMPLER), ["source is Tensor [40, 4]", "TensorSource(features, labels)"]),
        (("prototypes", ROWS.numpy(), SAMPLER), ["source is ndarray [40, 4]"]),
        (("prototypes", {"features": ROWS}, SAMPLER), ["source is a dict with Tensor [40, 4]"]),
        (("prototypes", {}, SAMPLER), ["source is a dict"]),
        (("prototypes", SOURCE, EpisodeSampler), ["sampler is the class EpisodeSampler itself, not an object of it"]),
        (("prototypes", SOURCE, 5), ["sampler is 5; it must be what draws episodes"]),
        ((torch.nn.Linear, SOURCE, SAMPLER), ["learners is the class Linear itself"]),
        (([SOURCE], SOURCE, SAMPLER), ["learners is a list with a source"]),
        (({"a": ROWS}, SOURCE, SAMPLER), ["learners is a dict with Tensor [40, 4]"]),
        ((3, SOURCE, SAMPLER), ["learners is 3; it must be a learner"]),
    ],
)  # fmt: skip
def test_each_is_named(arguments: tuple[Any, ...], messages: list[str]) -> None:
    with pytest.raises(ValueError, match="evaluate\\(learners, source, sampler\\)") as error:
        evaluate(*arguments, episodes=2)
    for message in messages:
        assert message in str(error.value)


def test_what_is_right_passes() -> None:
    def learner(episode: Any) -> torch.Tensor:
        return torch.zeros(len(episode), episode.query.shape[1], episode.way)

    for learners in (learner, [learner], {"mine": learner}, "prototypes", ["prototypes", learner]):
        evaluate(learners, SOURCE, Own(), episodes=2, progress=False)
        evaluate(
            learners, {"features": SOURCE}, SAMPLER, episodes=2, progress=False
        ) if learners == "prototypes" else None


@pytest.mark.parametrize("episodes", [0, -1, 2.5, True, "10", None])
def test_episodes_are_a_whole_number(episodes: Any) -> None:
    with pytest.raises(ValueError, match=r"episodes=.*; it must be at least 1"):
        evaluate("prototypes", SOURCE, SAMPLER, episodes=episodes)


def test_text_is_a_tensor() -> None:
    with pytest.raises(ValueError, match=r"text is list; it must be a tensor \[C, D\]"):
        evaluate("prototypes", SOURCE, SAMPLER, episodes=2, text=["a cat"])  # type: ignore[arg-type]
