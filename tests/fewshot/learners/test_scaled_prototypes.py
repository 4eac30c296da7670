"""Scaled prototypes: equal to the learner that it is before training, and to a slow reference."""

from __future__ import annotations

from functools import partial

import pytest
import references.inductive as references
import torch
from learner_checks import INDUCTIVE, equals_inductive, same_alone_and_padded
from learner_episodes import make

from fewshot import load_learner
from fewshot.learners import ScaledPrototypes

REFERENCES = {
    "scaled-prototypes": references.scaled_prototypes,
    "scaled-prototypes(scale=3.0, centred=2.0)": partial(references.scaled_prototypes, scale=3.0, centred=2.0),
}


def test_untrained_scaled_prototypes_are_prototypes_by_the_cosine() -> None:
    episode = make([3, 0, 1], dim=8)[0]
    peer = load_learner("prototypes(distance='cosine', scale=7.0)")(episode)
    torch.testing.assert_close(ScaledPrototypes(scale=7.0, centred=0.0)(episode), peer)


@pytest.mark.parametrize("spec", REFERENCES)
@pytest.mark.parametrize(("shots", "dim"), INDUCTIVE, ids=str)
def test_equals_the_numpy_reference(spec: str, shots: list[int], dim: int) -> None:
    equals_inductive(spec, REFERENCES[spec], shots, dim)


@pytest.mark.parametrize("spec", REFERENCES)
def test_batch_and_padding_change_nothing(spec: str) -> None:
    same_alone_and_padded(spec, 1e-6)


@pytest.mark.parametrize("centred", [-0.1, float("inf")])
def test_a_weight_below_zero_is_refused(centred: float) -> None:
    with pytest.raises(ValueError, match="centred at least 0 and finite"):
        ScaledPrototypes(centred=centred)
