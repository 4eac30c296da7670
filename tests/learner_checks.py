"""What every learner of a kind is checked for, whichever file its test is in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from learner_episodes import expect, expected, make, padded, up_to_a_constant, with_text

from fewshot import load_learner

INDUCTIVE = [([1, 1, 1], 5), ([3, 3, 3], 5), ([1, 4, 2], 5), ([2, 0, 3], 12), ([9, 8, 9], 2)]  # shots, D
TRANSDUCTIVE = [[1, 1, 1], [3, 3, 3], [1, 4, 2, 3], [2, 0, 3]]
WITH_TEXT = [[1, 1, 1, 1], [4, 3, 5, 4], [3, 0, 2, 1]]


def equals_inductive(spec: str, reference: Callable[..., Any], shots: list[int], dim: int) -> None:
    """The logits equal those of the slow reference."""
    episode, _ = make(shots, dim=dim, episodes=2)
    if spec.startswith("svm") and dim == 2:
        pytest.skip("the reference's coordinate descent needs many thousand sweeps of 26 rows in a plane")
    if "adam" in spec and len(set(shots)) == 1:
        pytest.skip("gradients of biases are zero at first, and Adam makes a whole step of their numerical error")
    tolerance = 1e-4 if "adam" in spec else 1e-6
    logits, wanted = load_learner(spec)(episode), expect(reference, episode)
    if "squared" in spec:  # |q|² is left out
        logits, wanted = up_to_a_constant(logits), up_to_a_constant(wanted)
    torch.testing.assert_close(logits, wanted, rtol=tolerance, atol=tolerance)


def equals_transductive(spec: str, reference: Callable[..., Any], shots: list[int]) -> None:
    """The logits equal those of the slow reference."""
    if "tim(" in spec and "adm" not in spec and len(shots) > 3:
        pytest.skip("numerical derivatives: three classes say as much")
    episode, _ = make(shots, dim=5, episodes=2)
    logits, wanted = load_learner(spec)(episode), expect(reference, episode)
    if "squared" in str(reference) or spec.startswith("tim-adm"):  # |q|² is left out
        logits, wanted = up_to_a_constant(logits), up_to_a_constant(wanted)
    torch.testing.assert_close(logits, wanted, rtol=1e-5, atol=1e-5)


def equals_with_text(spec: str, reference: Callable[..., Any], shots: list[int]) -> None:
    """The logits of padded episodes equal those of the slow reference, up to a constant."""
    episode = with_text(shots)
    wanted = up_to_a_constant(expected(reference, episode))
    found = up_to_a_constant(load_learner(spec)(padded(episode)))
    torch.testing.assert_close(found, wanted, atol=2e-5, rtol=1e-5)


def same_alone_and_padded(spec: str, tolerance: float) -> None:
    """An episode's logits depend neither on the rest of the batch nor on padding rows."""
    learner = load_learner(spec)
    episode, _ = make([2, 3, 1, 4])
    logits = learner(episode)
    torch.testing.assert_close(torch.cat([learner(one) for one in episode]), logits, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(learner(padded(episode)), logits, rtol=tolerance, atol=tolerance)
