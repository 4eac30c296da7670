"""Solvers that stop before they have converged say so, and those in ordinary use need not."""

from __future__ import annotations

from types import ModuleType

import pytest
import torch
from learner_episodes import make

import fewshot.maths.newton
import fewshot.maths.transport
from fewshot import ConvergenceWarning, load_learner

SOLVERS: dict[str, tuple[ModuleType | None, str, str]] = {
    "pt-map": (fewshot.maths.transport, "_STEPS", "transport plan of pt-map"),
    "logistic": (fewshot.maths.newton, "_MOST_STEPS", "logistic regression"),
    "distribution-calibration(samples=5)": (fewshot.maths.newton, "_MOST_STEPS", "logistic regression"),
    "svm(steps=2)": (None, "", "support vector machine"),
    "metaoptnet(steps=2)": (None, "", "support vector machine"),
}


@pytest.mark.parametrize("spec", SOLVERS)
def test_a_solver_that_stops_early_warns(spec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, limit, problem = SOLVERS[spec]
    episode, _ = make([3, 4, 3, 5], dtype=torch.float32)
    with torch.no_grad():
        if module is not None:
            load_learner(spec)(episode)  # with its usual limit it converges, or pytest would raise the warning
            monkeypatch.setattr(module, limit, 1)
        message = rf"{problem}: [1-6] of 6 episodes had not converged after [12] steps; (raise|lower) "
        with pytest.warns(ConvergenceWarning, match=message):
            logits = load_learner(spec)(episode)
    assert logits.isfinite().all()


def test_it_counts_the_episodes_that_have_not_converged() -> None:
    easy, _ = make([1, 1], dtype=torch.float32, episodes=2)
    hard, _ = make([9, 9], dtype=torch.float32, episodes=1)
    labels = torch.full_like(hard.labels, -1).repeat(2, 1)
    labels[:, :2] = easy.labels
    support = hard.support.repeat(2, 1, 1)
    support[:, :2] = easy.support
    both = hard.replace(
        support=torch.cat([support, hard.support]), labels=torch.cat([labels, hard.labels]),
        query=hard.query.repeat(3, 1, 1), ids=None,
    )  # fmt: skip
    with pytest.warns(ConvergenceWarning, match="1 of 3 episodes"):
        load_learner("svm(C=10.0, steps=41)")(both)
