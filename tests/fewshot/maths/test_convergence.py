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
    "pt-map(means=0.0)": (fewshot.maths.transport, "_STEPS", "transport plan of pt-map"),
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


@pytest.mark.parametrize("width", [5, 40], ids=["more rows", "more features"])
def test_another_beginning_ends_at_the_same_optimum(width: int) -> None:
    softmax_regression = fewshot.maths.newton.softmax_regression
    draw = torch.Generator().manual_seed(0)
    rows = torch.randn(2, 12, width, generator=draw, dtype=torch.float64)
    target = torch.eye(3, dtype=torch.float64)[torch.arange(12) % 3].mT.expand(2, -1, -1).contiguous()
    strength = torch.full((2, 1, 1), 5.0, dtype=torch.float64)
    start = softmax_regression(rows, target, strength / 10)
    found = softmax_regression(rows, target, strength, start=start)
    wanted = softmax_regression(rows, target, strength)
    torch.testing.assert_close(found[0], wanted[0], rtol=1e-4, atol=1e-5)
    intercepts = [bias - bias.mean(1, keepdim=True) for _, bias in (found, wanted)]  # a constant changes nothing
    torch.testing.assert_close(*intercepts, rtol=1e-4, atol=1e-5)
