"""Ridge regression: against scikit-learn, and on badly scaled rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from learner_episodes import make, padded

from fewshot.learners import Ridge, ridge


@pytest.mark.parametrize("shots", [[1, 1, 1, 1, 1], [5, 5, 5, 5, 5], [1, 7, 2, 3, 1], [2, 3]])
@pytest.mark.parametrize("dim", [3, 40])
def test_ridge_equals_scikit_learn(shots: list[int], dim: int) -> None:
    from sklearn.linear_model import Ridge as Peer
    from sklearn.linear_model import RidgeClassifier

    episode, _ = make(shots, dim=dim)
    ours = Ridge(alpha=0.3)(episode).numpy()
    for e in range(len(episode)):
        support, labels = episode.support[e].numpy(), episode.labels[e].numpy()
        query = episode.query[e].numpy()
        regression = Peer(alpha=0.3).fit(support, np.eye(len(shots))[labels])
        np.testing.assert_allclose(ours[e], regression.predict(query), atol=1e-9)
        decision = RidgeClassifier(alpha=0.3).fit(support, labels).decision_function(query)
        mine = 2 * ours[e] - 1
        np.testing.assert_allclose(mine[:, 1] if len(shots) == 2 else mine, decision, atol=1e-9)


def test_ridge_stands_badly_scaled_rows() -> None:
    from sklearn.linear_model import Ridge as Peer

    episode, _ = make([3, 3, 3], dtype=torch.float32, spread=2.0)
    twice = torch.cat([episode.support, episode.support], 1)  # equal rows: a singular Gram matrix
    large = episode.replace(
        support=1e3 * twice + 1e4, labels=torch.cat([episode.labels] * 2, 1), query=1e3 * episode.query + 1e4
    )
    logits = Ridge(alpha=1e-3)(large).double().numpy()
    for e in range(len(large)):  # the singular value decomposition is the road that squares nothing
        peer = Peer(alpha=1e-3, solver="svd")
        peer.fit(large.support[e].double().numpy(), np.eye(3)[large.labels[e]])
        np.testing.assert_allclose(logits[e], peer.predict(large.query[e].double().numpy()), atol=1e-4)


@pytest.mark.parametrize("dim", [4, 40])
def test_of_many_rows_some_are_left_out_whatever_their_order(dim: int, monkeypatch: pytest.MonkeyPatch) -> None:
    episode, _ = make([9, 6, 12, 7], dim=dim, episodes=3)
    everything = Ridge()(episode)
    monkeypatch.setattr(ridge, "_ASKED", 8)
    found, order = Ridge()(episode), torch.randperm(34, generator=torch.Generator().manual_seed(0))
    shuffled = episode.replace(support=episode.support[:, order], labels=episode.labels[:, order])
    torch.testing.assert_close(Ridge()(shuffled), found)
    torch.testing.assert_close(Ridge()(padded(episode)), found)
    assert not torch.equal(found, everything)


@pytest.mark.parametrize("dim", [4, 40])
def test_a_row_of_weight_two_is_two_rows_also_where_one_is_left_out(dim: int) -> None:
    episode, _ = make([3, 1, 4], dim=dim, episodes=3)
    weights = torch.tensor([1.0, 2.0, 1.0, 2.0, 1.0, 1.0, 3.0, 1.0], dtype=torch.float64).expand(3, -1)
    times = weights[0].long()
    support, labels = (part.repeat_interleave(times, 1) for part in (episode.support, episode.labels))
    torch.testing.assert_close(
        Ridge()(episode.replace(weights=weights)), Ridge()(episode.replace(support=support, labels=labels))
    )
