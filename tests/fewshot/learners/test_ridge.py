"""Ridge regression: against scikit-learn, and on badly scaled rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from learner_episodes import make

from fewshot.learners import Ridge


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
