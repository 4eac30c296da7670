"""Matching networks: against slow references and the claims of its own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import references.inductive as references
import torch
from learner_checks import INDUCTIVE, equals_inductive, same_alone_and_padded
from learner_episodes import make

from fewshot import load_learner
from fewshot.maths.linalg import class_means, normalize

REFERENCES: dict[str, Callable[..., Any]] = {
    "matching(scale=10.0, centred=False, shrinkage=0.0)": references.matching,
    "matching(scale=1.0, centred=False, shrinkage=0.0)": partial(references.matching, scale=1.0),
    "matching(shrinkage=0.0)": partial(references.rescaled, references.matching, size=False, scale=5.0),
    "matching(shrinkage=0.8)": partial(
        references.towards_means, partial(references.rescaled, references.matching, size=False, scale=5.0), 0.8
    ),
}


@pytest.mark.parametrize("spec", REFERENCES)
@pytest.mark.parametrize(("shots", "dim"), INDUCTIVE, ids=str)
def test_equals_the_numpy_reference(spec: str, shots: list[int], dim: int) -> None:
    equals_inductive(spec, REFERENCES[spec], shots, dim)


@pytest.mark.parametrize("spec", REFERENCES)
def test_batch_and_padding_change_nothing(spec: str) -> None:
    same_alone_and_padded(spec, 1e-6)


def test_moved_all_the_way_it_answers_by_class_means() -> None:
    episode, _ = make([4, 4, 4], dim=8)
    found = load_learner("matching(shrinkage=1.0, centred=False)")(episode)
    means = normalize(class_means(episode)[0], dim=-1)
    expected = (normalize(episode.query, dim=-1) @ means.mT).argmax(-1)
    assert torch.equal(found.argmax(-1), expected)


def right(support: np.ndarray, labels: np.ndarray, held: np.ndarray, share: float) -> int:
    """How many held-out rows the others get right, moved by a share of the way to their class means."""
    left = np.where(held, -1, labels)
    known = left >= 0
    rows = support.copy()
    for n in set(left[known].tolist()):
        rows[left == n] += share * (support[left == n].mean(0) - support[left == n])
    centre = support[labels >= 0].mean(0)
    asked = held & np.isin(labels, left[known])
    logits = references.matching(rows[known] - centre, left[known], support[asked] - centre, 3, scale=5.0)
    return int((logits.argmax(1) == labels[asked]).sum())


@pytest.mark.parametrize("shots", [[1, 1, 1], [2, 2, 2], [5, 3, 1], [6, 6, 6]], ids=str)
def test_rows_move_unless_held_out_examples_speak_against_it(shots: list[int]) -> None:
    stayed = []
    for seed in range(3):
        episode, _ = make(shots, dim=4, episodes=8)
        # Two clusters in each class, one of them beyond the centre: single rows know more than means.
        sides = torch.arange(episode.labels.shape[1]) % 2 * 2.0 - 1
        episode = episode.replace(support=episode.support * (sides[:, None] if seed else 1.0) + seed)
        found = load_learner("matching")(episode)
        for e in range(len(episode)):
            support, labels = episode.support[e].numpy(), episode.labels[e].numpy()
            value = support @ np.linspace(1, 2, 4)
            rank = np.array([(value[labels == n] < v).sum() for v, n in zip(value, labels, strict=True)])
            folds = [rank % 4 == number for number in range(4)]
            stayed.append(
                sum(right(support, labels, held, 0.0) - right(support, labels, held, 0.8) for held in folds) > 0
            )
            expected = load_learner(f"matching(shrinkage={0.0 if stayed[-1] else 0.8})")(episode[e])[0]
            torch.testing.assert_close(found[e], expected, rtol=1e-6, atol=1e-6)
    assert any(stayed) == (max(shots) > 2) and not all(stayed)


@pytest.mark.parametrize("shrinkage", [-0.1, 1.1, "'best'"])
def test_a_share_outside_its_range_is_refused(shrinkage: float) -> None:
    with pytest.raises(ValueError, match=r"shrinkage in 0\.\.1"):
        load_learner(f"matching(shrinkage={shrinkage})")
