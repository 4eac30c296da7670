"""Fine-tuning: against slow references and the claims of its own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import references.inductive as references
from learner_checks import INDUCTIVE, equals_inductive, same_alone_and_padded

REFERENCES: dict[str, Callable[..., Any]] = {
    "fine-tune(steps=5)": partial(references.rescaled, references.fine_tune, steps=5, rate=3.0),
    "fine-tune(steps=5, lr=0.1)": partial(references.fine_tune, steps=5, rate=0.1),
    "fine-tune(steps=4, lr=0.1, optimizer='adam', weight_decay=0.0)": partial(
        references.fine_tune, steps=4, rate=0.1, optimiser="adam", decay=0.0
    ),
    "fine-tune(head='cosine', steps=4, lr=0.01, scale=2.0)": partial(
        references.fine_tune, head="cosine", steps=4, scale=2.0
    ),
    "fine-tune(head='squared', steps=4, lr=0.01, scale=0.5)": partial(
        references.fine_tune, head="squared", steps=4, scale=0.5
    ),
}


@pytest.mark.parametrize("spec", REFERENCES)
@pytest.mark.parametrize(("shots", "dim"), INDUCTIVE, ids=str)
def test_equals_the_numpy_reference(spec: str, shots: list[int], dim: int) -> None:
    equals_inductive(spec, REFERENCES[spec], shots, dim)


@pytest.mark.parametrize("spec", REFERENCES)
def test_batch_and_padding_change_nothing(spec: str) -> None:
    same_alone_and_padded(spec, 1e-6)
