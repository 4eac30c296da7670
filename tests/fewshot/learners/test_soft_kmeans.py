"""Soft k-means: against slow references and the claims of its own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import references.transductive as references
from learner_checks import TRANSDUCTIVE, equals_transductive, same_alone_and_padded

REFERENCES: dict[str, Callable[..., Any]] = {
    "soft-kmeans": partial(references.rescaled, references.soft_kmeans, scale=10.0),
    "soft-kmeans(scale=1.0)": references.soft_kmeans,
    "soft-kmeans(steps=4, scale=0.2)": partial(references.soft_kmeans, steps=4, scale=0.2),
    "soft-kmeans(distractors=True, scale=0.1, steps=2)": partial(
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
