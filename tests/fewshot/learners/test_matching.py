"""Matching networks: against slow references and the claims of its own."""

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
from fewshot.maths.linalg import class_means, normalize

REFERENCES: dict[str, Callable[..., Any]] = {
    "matching(scale=10.0, centred=False, shrinkage=0.0)": references.matching,
    "matching(scale=1.0, centred=False, shrinkage=0.0)": partial(references.matching, scale=1.0),
    "matching(shrinkage=0.0)": partial(references.rescaled, references.matching, size=False, scale=5.0),
    "matching": partial(
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


@pytest.mark.parametrize("shrinkage", [-0.1, 1.1])
def test_a_share_outside_its_range_is_refused(shrinkage: float) -> None:
    with pytest.raises(ValueError, match=r"shrinkage in 0\.\.1"):
        load_learner(f"matching(shrinkage={shrinkage})")
