"""Soft k-means: against slow references and the claims of its own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import references.transductive as references
import torch
from learner_checks import TRANSDUCTIVE, equals_transductive, same_alone_and_padded
from learner_episodes import make

from episodes import Episode
from fewshot import load_learner

REFERENCES: dict[str, Callable[..., Any]] = {
    "soft-kmeans(validated=False)": partial(references.rescaled, references.soft_kmeans, scale=10.0, limit=1.0),
    "soft-kmeans(scale=1.0, validated=False, limit=None)": references.soft_kmeans,
    "soft-kmeans(steps=4, scale=0.2, validated=False, limit=0.5)": partial(
        references.soft_kmeans, steps=4, scale=0.2, limit=0.5
    ),
    "soft-kmeans(distractors=True, scale=0.1, steps=2, validated=False, limit=None)": partial(
        references.soft_kmeans, distractors=True, scale=0.1, steps=2
    ),
    "soft-kmeans(queries=False, scale=1.0)": partial(references.soft_kmeans, queries=False),
}


@pytest.mark.parametrize("spec", REFERENCES)
@pytest.mark.parametrize("shots", TRANSDUCTIVE, ids=str)
def test_equals_the_numpy_reference(spec: str, shots: list[int]) -> None:
    equals_transductive(spec, REFERENCES[spec], shots)


@pytest.mark.parametrize("spec", REFERENCES)
def test_batch_and_padding_change_nothing(spec: str) -> None:
    same_alone_and_padded(spec, 1e-7)


def likely(support: np.ndarray, labels: np.ndarray, query: np.ndarray, held: np.ndarray, move: bool) -> float:
    """Log likelihood of the held-out rows, by means that moved with the queries or stayed."""
    left = np.where(held, -1, labels)
    asked = held & np.isin(labels, left[left >= 0])
    found = references.means(support[left >= 0], left[left >= 0], 3)
    if move:
        logits = np.array([[-((row - mean) ** 2).sum() for mean in found.values()] for row in query])
        shares = np.exp(logits - logits.max(1, keepdims=True))
        shares /= shares.sum(1, keepdims=True)
        for place, n in enumerate(found):
            rows = support[left == n]
            found[n] = (rows.sum(0) + shares[:, place] @ query) / (len(rows) + shares[:, place].sum())
    total = 0.0
    for row, label in zip(support[asked], labels[asked], strict=True):
        logits = {n: -((row - mean) ** 2).sum() for n, mean in found.items()}
        total += logits[label] - np.logaddexp.reduce(list(logits.values()))
    return float(total)


@pytest.mark.parametrize("shots", [[2, 2, 2], [5, 3, 1], [6, 6, 6]], ids=str)
def test_means_move_unless_held_out_examples_speak_against_it(shots: list[int]) -> None:
    moved_in = []
    for offset in (0.0, 1.5):  # queries of other classes than the support's draw means away
        episode, _ = make(shots, dim=4, episodes=6)
        episode = episode.replace(query=episode.query + offset * episode.support[:, :1].sign())
        found = load_learner("soft-kmeans(scale=1.0, limit=None)")(episode)
        for e in range(len(episode)):
            support, labels, query = (part[e].numpy() for part in (episode.support, episode.labels, episode.query))
            weights = np.linspace(1, 2, 4)
            rank = np.array([
                sum(other @ weights < row @ weights for other in support[labels == n])
                for row, n in zip(support, labels, strict=True)
            ])  # fmt: skip
            folds = [rank % 4 == number for number in range(4)]
            gain = sum(
                likely(support, labels, query, held, True) - likely(support, labels, query, held, False)
                for held in folds
            )
            moved_in.append(gain >= 0)
            alone = episode[e]
            spec = f"soft-kmeans(scale=1.0, limit=None, validated=False{', queries=False' if gain < 0 else ''})"
            np.testing.assert_allclose(found[e], load_learner(spec)(alone)[0], rtol=1e-6, atol=1e-6)
    assert any(moved_in) or shots == [6, 6, 6]
    assert not all(moved_in) or shots == [5, 3, 1]


def test_with_one_example_of_each_class_means_always_move() -> None:
    episode, _ = make([1, 1, 1])
    found, expected = (load_learner(spec)(episode) for spec in ("soft-kmeans", "soft-kmeans(validated=False)"))
    assert (found == expected).all()


@pytest.mark.parametrize("asked", [1, 5, 40])
def test_queries_weigh_no_more_than_the_examples_of_their_class(asked: int) -> None:
    """However many queries lie at one place, a mean goes half of the way there."""
    support, query = torch.tensor([[[0.0], [10.0]]]), torch.full((1, asked, 1), 2.0)
    episode = Episode(support, torch.tensor([[0, 1]]), query, way=2)
    logits = load_learner("soft-kmeans(scale=5.0)")(episode)[0, 0]
    torch.testing.assert_close(logits, torch.tensor([-5.0 * (2 - 1) ** 2, -5.0 * (10 - 2) ** 2]))
