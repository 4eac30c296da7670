"""Baseline++: against slow references and the claims of its own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import references.inductive as references
from learner_checks import INDUCTIVE, equals_inductive, same_alone_and_padded

REFERENCES: dict[str, Callable[..., Any]] = {
    "baseline++(steps=4, lr=0.01, scale=10.0)": partial(references.baseline_plus_plus, steps=4),
}


@pytest.mark.parametrize("spec", REFERENCES)
@pytest.mark.parametrize(("shots", "dim"), INDUCTIVE, ids=str)
def test_equals_the_numpy_reference(spec: str, shots: list[int], dim: int) -> None:
    equals_inductive(spec, REFERENCES[spec], shots, dim)


@pytest.mark.parametrize("spec", REFERENCES)
def test_batch_and_padding_change_nothing(spec: str) -> None:
    same_alone_and_padded(spec, 1e-6)
