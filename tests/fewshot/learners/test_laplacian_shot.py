"""LaplacianShot: against slow references and the claims of its own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import references.transductive as references
from learner_checks import TRANSDUCTIVE, equals_transductive, same_alone_and_padded

REFERENCES: dict[str, Callable[..., Any]] = {
    "laplacian-shot": references.laplacian_shot,
    "laplacian-shot(rectify=True, neighbours=3, regularisation=0.2, steps=5)": partial(
        references.laplacian_shot, rectify=True, neighbours=3, regularisation=0.2, steps=5
    ),
}


@pytest.mark.parametrize("spec", REFERENCES)
@pytest.mark.parametrize("shots", TRANSDUCTIVE, ids=str)
def test_equals_the_numpy_reference(spec: str, shots: list[int]) -> None:
    equals_transductive(spec, REFERENCES[spec], shots)


@pytest.mark.parametrize("spec", REFERENCES)
def test_batch_and_padding_change_nothing(spec: str) -> None:
    same_alone_and_padded(spec, 1e-7)
