"""Every registered learner keeps every point of the contract."""

from __future__ import annotations

import pytest

from fewshot.learners import list_learners
from fewshot.testing import list_checks, run_check

EXTRA = ["prototypes(distance='cosine')", "nearest(k=3)", "l2 | prototypes", "cl2n | ridge(alpha=0.1)"]


@pytest.mark.parametrize("check", list_checks())
@pytest.mark.parametrize("learner", [*list_learners(), *EXTRA])
def test_contract(learner: str, check: str) -> None:
    outcome = run_check(check, learner)
    if outcome.startswith("skipped"):
        pytest.skip(outcome)
    if outcome.startswith("expected failure"):
        pytest.xfail(outcome)
