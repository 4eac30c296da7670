"""Support vector machines: against slow references and the claims of its own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import references.inductive as references
import torch
from learner_checks import INDUCTIVE, equals_inductive, same_alone_and_padded
from learner_episodes import make

from fewshot import load_learner
from fewshot.maths import crammer_singer

REFERENCES: dict[str, Callable[..., Any]] = {
    "svm(C=0.1, gap=1e-10, means=0.0)": references.svm,
    "svm(gap=1e-10, means=0.0)": partial(references.rescaled, references.svm, C=1.0),
    "svm(gap=1e-10)": partial(references.rescaled, references.svm_beside_means),
}


@pytest.mark.parametrize("spec", REFERENCES)
@pytest.mark.parametrize(("shots", "dim"), INDUCTIVE, ids=str)
def test_equals_the_numpy_reference(spec: str, shots: list[int], dim: int) -> None:
    equals_inductive(spec, REFERENCES[spec], shots, dim)


@pytest.mark.parametrize("spec", REFERENCES)
def test_batch_and_padding_change_nothing(spec: str) -> None:
    same_alone_and_padded(spec, 1e-6)


@pytest.mark.parametrize("spec", ["svm", "svm(C=0.1, means=0.0)"])
def test_first_steps_of_large_problems_in_float32_lead_to_the_same_solution(
    spec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    episode, _ = make([9, 6, 12, 7], dim=20, episodes=3)
    expected = load_learner(spec)(episode)
    used: list[torch.dtype] = []
    slope = crammer_singer.Dual.slope

    def watched(self: crammer_singer.Dual, shares: torch.Tensor) -> torch.Tensor:
        used.append(shares.dtype)
        return slope(self, shares)

    monkeypatch.setattr(crammer_singer.Dual, "slope", watched)
    monkeypatch.setattr(crammer_singer, "_LARGE", 0)
    torch.testing.assert_close(load_learner(spec)(episode), expected, rtol=1e-3, atol=1e-3)
    assert torch.float32 in used and torch.float64 in used


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("C", [0.01, 1.0, 100.0])
def test_svm_equals_scikit_learn(C: float, large: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    from sklearn.svm import LinearSVC

    if large:
        monkeypatch.setattr(crammer_singer, "_LARGE", 0)

    episode, _ = make([4, 6, 5], dim=7, episodes=4)
    ours = load_learner(f"svm(C={C}, means=0.0)")(episode)
    for e in range(len(episode)):
        peer = LinearSVC(C=C, multi_class="crammer_singer", fit_intercept=False, tol=1e-8, max_iter=1_000_000)
        peer.fit(episode.support[e].numpy(), episode.labels[e].numpy())
        expected = torch.from_numpy(peer.decision_function(episode.query[e].numpy()))
        torch.testing.assert_close(ours[e], expected, rtol=1e-3, atol=1e-3)
