"""Nearest neighbours: against scikit-learn, and how draws are broken."""

from __future__ import annotations

import pytest
import torch
from learner_episodes import make

from episodes import Episode
from fewshot.learners import Nearest


@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
@pytest.mark.parametrize("weights", ["uniform", "distance"])
@pytest.mark.parametrize("k", [1, 3, 7])
def test_nearest_equals_scikit_learn(k: int, distance: str, weights: str) -> None:
    from sklearn.neighbors import KNeighborsClassifier

    episode, _ = make([4, 4, 4], episodes=20, dtype=torch.float32)
    ours = Nearest(k=k, distance=distance, weights=weights)(episode)
    compared = 0
    for e in range(len(episode)):
        peer = KNeighborsClassifier(n_neighbors=k, weights=weights, metric=distance, algorithm="brute")
        peer.fit(episode.support[e].double().numpy(), episode.labels[e].numpy())
        shares = torch.from_numpy(peer.predict_proba(episode.query[e].double().numpy()))
        top = shares.topk(2, dim=-1).values
        clear = top[:, 0] - top[:, 1] > 1e-6  # a draw is theirs by label, ours by distance
        assert torch.equal(ours[e].argmax(-1)[clear], shares.argmax(-1)[clear])
        compared += int(clear.sum())
    assert compared > 0.6 * ours.shape[0] * ours.shape[1]  # seven votes for three classes often draw


def test_nearest_breaks_draws_by_distance_and_lets_equally_far_rows_vote() -> None:
    # Distances to the query at 0: class 0 at 1 and 4, class 1 at 2 and 3: two votes each, class 0 is nearer.
    support = torch.tensor([[[1.0], [4.0], [2.0], [3.0]]])
    labels, query = torch.tensor([[0, 0, 1, 1]]), torch.zeros(1, 1, 1)
    for names in ([0, 1], [1, 0]):
        renamed = torch.tensor(names)[labels]
        assert Nearest(k=4)(Episode(support, renamed, query, way=2)).argmax() == names[0]
    # k = 2: the second and third row are equally far, on either side, so both vote whatever their order.
    support = torch.tensor([[[1.0], [2.0], [-2.0], [9.0]]])
    for order in ([0, 1, 2, 3], [0, 2, 1, 3], [3, 2, 1, 0]):
        episode = Episode(support[:, order], torch.tensor([[0, 1, 1, 2]])[:, order], query, way=3)
        assert Nearest(k=2)(episode).argmax() == 1


def test_equal_rows_of_two_classes_draw() -> None:
    random = torch.Generator().manual_seed(0)
    rows = 30 + torch.randn(1, 3, 64, generator=random)
    episode = Episode(rows[:, [0, 0, 1, 2]], torch.tensor([[0, 1, 2, 2]]), rows[:, :1].clone(), way=3)
    for learner in (Nearest(), Nearest(k=2), Nearest(k=2, weights="distance")):
        logits = learner(episode)[0, 0]
        assert logits[0] == logits[1] > logits[2]


@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
@pytest.mark.parametrize("shots", [[3, 3, 3], [1, 4, 0], [40, 1, 1]], ids=str)
def test_one_neighbour_is_the_nearest_row_of_each_class_whatever_the_shots(distance: str, shots: list[int]) -> None:
    random = torch.Generator().manual_seed(0)
    labels = torch.cat([torch.arange(3).repeat_interleave(torch.tensor(shots)), torch.tensor([-1, -1])])
    labels = torch.stack([labels, labels.flip(0)])  # [E, S]
    support = torch.randn(*labels.shape, 7, generator=random, dtype=torch.float64)
    query = torch.randn(2, 5, 7, generator=random, dtype=torch.float64)
    apart = torch.cdist(query, support)  # [E, Q, S]
    if distance == "cosine":
        apart = 1 - torch.nn.functional.cosine_similarity(query.unsqueeze(2), support.unsqueeze(1), dim=-1)
    other = labels.unsqueeze(1) != torch.arange(3).view(3, 1)  # [E, N, S]
    expected = -apart.unsqueeze(2).masked_fill(other.unsqueeze(1), torch.inf).amin(-1)  # [E, Q, N]
    episode = Episode(support, labels, query, way=3)
    torch.testing.assert_close(Nearest(distance=distance)(episode), expected)
