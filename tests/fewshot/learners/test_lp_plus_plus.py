"""LP++: against slow references and the claims of its own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import references.text as references
from learner_checks import WITH_TEXT, equals_with_text

REFERENCES: dict[str, Callable[..., Any]] = {
    "lp++(steps=35, start=250.0, words=0.0)": partial(references.lp_plus_plus, steps=35),
}


@pytest.mark.parametrize("spec", REFERENCES)
@pytest.mark.parametrize("shots", WITH_TEXT, ids=str)
def test_equals_the_reference(spec: str, shots: list[int]) -> None:
    equals_with_text(spec, REFERENCES[spec], shots)
