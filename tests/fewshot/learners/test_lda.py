"""Linear discriminant analysis: against slow references and the claims of its own."""

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

REFERENCES: dict[str, Callable[..., Any]] = {
    "lda": partial(references.lda, shrinkage="auto"),
    "lda(shrinkage='ledoit-wolf')": references.lda,
    "lda(shrinkage='oas', prior='empirical')": partial(references.lda, shrinkage="oas", prior="empirical"),
    "lda(shrinkage=0.3)": partial(references.lda, shrinkage=0.3),
}


@pytest.mark.parametrize("spec", REFERENCES)
@pytest.mark.parametrize(("shots", "dim"), INDUCTIVE, ids=str)
def test_equals_the_numpy_reference(spec: str, shots: list[int], dim: int) -> None:
    equals_inductive(spec, REFERENCES[spec], shots, dim)


@pytest.mark.parametrize("spec", REFERENCES)
def test_batch_and_padding_change_nothing(spec: str) -> None:
    same_alone_and_padded(spec, 1e-6)


@pytest.mark.parametrize(("shrinkage", "theirs"), [(0.2, 0.2), (0.9, 0.9)])
def test_lda_equals_scikit_learn(shrinkage: float, theirs: float) -> None:
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    episode, _ = make([4, 6, 5], dim=7, episodes=4)
    ours = load_learner(f"lda(shrinkage={shrinkage}, prior='empirical')")(episode)
    for e in range(len(episode)):
        peer = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=theirs)
        peer.fit(episode.support[e].numpy(), episode.labels[e].numpy())
        expected = torch.from_numpy(peer.decision_function(episode.query[e].numpy()))
        torch.testing.assert_close(ours[e], expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("kind", ["ledoit-wolf", "oas"])
@pytest.mark.parametrize("dim", [3, 30])
def test_shrinkage_equals_scikit_learn(kind: str, dim: int) -> None:
    from sklearn.covariance import ledoit_wolf, oas

    episode, _ = make([4, 6, 5], dim=dim, episodes=3)
    for e in range(3):
        rows, labels = episode.support[e].numpy(), episode.labels[e].numpy()
        centred = np.array([x - rows[labels == n].mean(0) for x, n in zip(rows, labels, strict=True)])
        covariance, _ = (ledoit_wolf if kind == "ledoit-wolf" else oas)(centred, assume_centered=True)
        inverse = np.linalg.inv(covariance)
        centres = np.array([rows[labels == n].mean(0) for n in range(3)])
        expected = episode.query[e].numpy() @ inverse @ centres.T - 0.5 * np.einsum(
            "nd,de,ne->n", centres, inverse, centres
        )
        found = load_learner(f"lda(shrinkage={kind!r})")(episode[e])[0]
        torch.testing.assert_close(found, torch.from_numpy(expected), rtol=1e-6, atol=1e-6)
