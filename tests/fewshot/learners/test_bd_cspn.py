"""BD-CSPN: against slow references and the claims of its own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import references.transductive as references
from learner_checks import TRANSDUCTIVE, equals_transductive, same_alone_and_padded

REFERENCES: dict[str, Callable[..., Any]] = {
    "bd-cspn": references.bd_cspn,
    "bd-cspn(sharpness=1.0, scale=3.0)": partial(references.bd_cspn, sharpness=1.0, scale=3.0),
}


@pytest.mark.parametrize("spec", REFERENCES)
@pytest.mark.parametrize("shots", TRANSDUCTIVE, ids=str)
def test_equals_the_numpy_reference(spec: str, shots: list[int]) -> None:
    equals_transductive(spec, REFERENCES[spec], shots)


@pytest.mark.parametrize("spec", REFERENCES)
def test_batch_and_padding_change_nothing(spec: str) -> None:
    same_alone_and_padded(spec, 1e-7)
