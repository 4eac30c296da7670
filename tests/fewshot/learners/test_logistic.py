"""Logistic regression: against scikit-learn, its convergence, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import references.basic as references
import torch
from learner_episodes import expect, make, up_to_a_constant

from episodes import Episode, Support
from fewshot import ConvergenceWarning, load_learner
from fewshot.learners import Logistic
from fewshot.learners.logistic import _GRID
from fewshot.maths.held_out import folds_by_value


@pytest.mark.parametrize("C", [0.01, 1.0, 100.0])
@pytest.mark.parametrize(
    ("shots", "dim"), [([1] * 5, 64), ([5] * 5, 64), ([1, 7, 2, 3, 1], 64), ([2, 3], 64), ([20] * 3, 4)]
)
def test_logistic_equals_scikit_learn(C: float, shots: list[int], dim: int) -> None:
    from sklearn.linear_model import LogisticRegression

    episode, _ = make(shots, dim=dim, dtype=torch.float32, episodes=3)
    ours = up_to_a_constant(Logistic(C=C)(episode).double()).numpy()
    for e in range(len(episode)):
        peer = LogisticRegression(C=C, tol=1e-9, max_iter=10_000)
        peer.fit(episode.support[e].double().numpy(), episode.labels[e].numpy())
        decision = peer.decision_function(episode.query[e].double().numpy())
        mine = ours[e][:, 1] - ours[e][:, 0] if len(shots) == 2 else ours[e]
        theirs = decision if len(shots) == 2 else decision - decision.mean(1, keepdims=True)
        np.testing.assert_allclose(mine, theirs, atol=1e-4)


@pytest.mark.parametrize("scale", [1e-2, 1.0, 30.0])
@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_logistic_solves_separable_rows_of_any_scale(scale: float, offset: float) -> None:
    episode, _ = make([5, 5, 5], dim=64, spread=1.5)
    moved = episode.replace(support=scale * episode.support + offset, query=scale * episode.query + offset)
    logits, expected = Logistic(C=100.0)(moved), expect(lambda *a: references.logistic(*a, C=100.0), moved)
    torch.testing.assert_close(up_to_a_constant(logits), up_to_a_constant(expected), rtol=0, atol=1e-5)


def test_logistic_is_bitwise_the_same_in_any_batch() -> None:
    easy, _ = make([5] * 5, dim=64, spread=0.0, dtype=torch.float32)
    hard, _ = make([5] * 5, dim=64, spread=9.0, dtype=torch.float32)
    both = Episode(
        torch.cat([easy.support, hard.support]), torch.cat([easy.labels, hard.labels]),
        torch.cat([easy.query, hard.query]), way=5,
    )  # fmt: skip
    learner = Logistic()
    with torch.no_grad():
        torch.testing.assert_close(learner(both), torch.cat([learner(easy), learner(hard)]), rtol=0, atol=1e-6)


def test_logistic_says_when_it_has_not_converged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import fewshot.maths.newton

    monkeypatch.setattr(fewshot.maths.newton, "_MOST_STEPS", 2)
    episode, _ = make([5] * 5)
    with pytest.warns(ConvergenceWarning, match="6 of 6 episodes had not converged after 2 steps; lower C"):
        logits = Logistic()(episode)
    assert logits.isfinite().all()


def test_logistic_of_many_classes_and_little_regularisation_reaches_its_optimum() -> None:
    """Newton's first step there once went so far that nothing led back, and was taken for the optimum."""
    draw = np.random.default_rng(0)
    labels = np.arange(750) // 5
    rows = draw.normal(size=(150, 384))[labels] + 1.5 * draw.normal(size=(750, 384))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    support = Support(torch.from_numpy(rows)[None], torch.from_numpy(labels)[None], way=150)
    weight, bias, _ = (part[0].double() for part in Logistic(C=1000.0).adapt(support))
    p = (torch.from_numpy(rows).double() @ weight.mT + bias).softmax(-1)
    gradient = 1000 * (p - torch.eye(150)[labels]).mT @ torch.from_numpy(rows).double() + weight
    assert gradient.abs().max() < 1e-3 * weight.abs().max()


def test_logistic_refuses_second_derivatives() -> None:
    episode, _ = make([2, 2])
    support = episode.support.clone().requires_grad_()
    loss = Logistic()(episode.replace(support=support)).square().sum()
    (gradient,) = torch.autograd.grad(loss, support, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


@pytest.mark.parametrize("shots", [[1, 1, 1], [4, 4, 4], [5] * 5, [3, 1, 2], [2, 3]])
def test_logistic_without_information_knows_the_class_frequencies(
    shots: list[int],
) -> None:
    labels = torch.arange(len(shots)).repeat_interleave(torch.tensor(shots))[None]
    episode = Episode(torch.zeros(1, sum(shots), 8), labels, torch.zeros(1, 1, 8), way=len(shots))
    shares = torch.tensor(shots) / sum(shots)
    torch.testing.assert_close(Logistic()(episode)[0, 0].softmax(-1), shares)


def test_cross_validation_takes_what_scikit_learn_takes() -> None:
    from sklearn.linear_model import LogisticRegression

    episode, _ = make([6, 6, 6], dim=8, episodes=6, spread=0.5)
    folds = folds_by_value(episode, 3)
    assert all(
        sorted(folds[e][episode.labels[e] == n].tolist()) == [0, 0, 1, 1, 2, 2] for e in range(6) for n in range(3)
    )
    learner = load_learner("logistic(C='cv', folds=3)")
    chosen = learner._cross_validated(episode)
    for e in range(len(episode)):
        rows, labels, fold = episode.support[e].numpy(), episode.labels[e].numpy(), folds[e].numpy()
        totals = []
        for C in _GRID:
            total = 0.0
            for number in range(3):
                out = fold == number
                model = LogisticRegression(C=C, tol=1e-8, max_iter=10_000).fit(rows[~out], labels[~out])
                total += np.log(model.predict_proba(rows[out])[np.arange(out.sum()), labels[out]]).sum()
            totals.append(total)
        assert chosen[e] == pytest.approx(_GRID[int(np.argmax(totals))])
        same = load_learner(f"logistic(C={float(chosen[e])})")(episode[e])
        torch.testing.assert_close(learner(episode[e]), same, rtol=1e-6, atol=1e-6)
    assert len(chosen.unique()) > 1, "the episodes do not tell one C from another"
