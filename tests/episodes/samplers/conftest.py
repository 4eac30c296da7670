"""Fixtures of the tests of samplers."""

from __future__ import annotations

from typing import Any

import pytest
from sampler_examples import MADE


@pytest.fixture(params=MADE)
def sampler(request: pytest.FixtureRequest) -> Any:
    """A sampler of each kind beside the fixed one."""
    return MADE[request.param]()
