"""Matching networks: against slow references and the claims of its own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import references.inductive as references
import torch
from learner_checks import INDUCTIVE, equals_inductive, same_alone_and_padded
from learner_episodes import make, padded

from fewshot import load_learner
from fewshot.learners import matching

REFERENCES: dict[str, Callable[..., Any]] = {
    "matching": partial(references.rescaled, references.matching_beside_means, size=False),
    "matching(centred=False, scale=2.0, means=2.0)": partial(references.matching_beside_means, scale=2.0, before=2.0),
    "matching(scale=10.0, centred=False, means=0.0)": references.matching,
    "matching(scale=1.0, centred=False, means=0.0)": partial(references.matching, scale=1.0),
    "matching(means=0.0)": partial(references.rescaled, references.matching, size=False, scale=5.0),
}


@pytest.mark.parametrize("spec", REFERENCES)
@pytest.mark.parametrize(("shots", "dim"), INDUCTIVE, ids=str)
def test_equals_the_numpy_reference(spec: str, shots: list[int], dim: int) -> None:
    equals_inductive(spec, REFERENCES[spec], shots, dim)


@pytest.mark.parametrize("spec", REFERENCES)
def test_batch_and_padding_change_nothing(spec: str) -> None:
    same_alone_and_padded(spec, 1e-6)


def test_left_out_rows_decide_between_votes_and_class_means() -> None:
    def weights(sides: torch.Tensor) -> torch.Tensor:
        episode, _ = make([12, 12, 12], dim=4, episodes=8)
        return load_learner("matching").adapt(episode.replace(support=episode.support * sides)).weights

    # Two clusters in each class, one of them beyond the centre: single rows know more than means.
    sides = (torch.arange(36) % 2 * 2.0 - 1)[:, None]
    alone, together = weights(sides), weights(torch.ones_like(sides))
    shares = [weights[:, 1] / weights[:, 0] for weights in (alone, together)]
    assert (shares[0] < 0.5 * shares[1]).all(), shares


def test_of_many_rows_some_are_left_out_whatever_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matching, "_ASKED", 8)
    episode, _ = make([9, 6, 12, 7], dim=20, episodes=3)  # 34 rows
    learner, order = load_learner("matching"), torch.randperm(34, generator=torch.Generator().manual_seed(0))
    found = learner(episode)
    shuffled = episode.replace(support=episode.support[:, order], labels=episode.labels[:, order])
    torch.testing.assert_close(learner(shuffled), found)
    torch.testing.assert_close(learner(padded(episode)), found)


@pytest.mark.parametrize("means", [-0.1, float("inf")])
def test_a_weight_of_class_means_below_zero_is_refused(means: float) -> None:
    with pytest.raises(ValueError, match="means at least 0 and finite"):
        matching.Matching(means=means)
