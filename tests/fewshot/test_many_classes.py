"""Thousands of classes: the same answers without indicator rows of all classes, few rows asked, or a refusal."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from learner_episodes import make, padded, up_to_a_constant
from scipy.optimize import minimize_scalar
from torch import Tensor

from episodes import Episode
from fewshot import FewShotClassifier, load_learner
from fewshot.classifier.adapted import Adapted, own_gap, task
from fewshot.classifier.folds import some_rows
from fewshot.maths import linalg
from fewshot.maths.temperature import fit_temperature

SPECS = ["prototypes", "nearest", "nearest(k=3)", "ridge", "ridge(fit_intercept=False)", "lda", "lda(shrinkage='oas')"]


def weighted(episode: Episode) -> Episode:
    random = torch.Generator().manual_seed(1)
    return episode.replace(weights=torch.rand(episode.labels.shape, generator=random) + 0.5)


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("width", [4, 40])  # fewer features than rows, and more
def test_sums_over_classes_do_without_indicator_rows(spec: str, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    learner, episode = load_learner(spec), padded(make([3, 2, 4], dim=width)[0])
    episode = weighted(episode) if learner.weighted else episode
    expected = learner(episode)
    monkeypatch.setattr(linalg, "_DENSE", 0)
    torch.testing.assert_close(up_to_a_constant(learner(episode)), up_to_a_constant(expected), rtol=1e-5, atol=1e-5)


def test_shots_are_counts_of_labels() -> None:
    labels = torch.tensor([[2, -1, 0, 2], [-1, -1, 1, 1]])
    episode = Episode(torch.zeros(2, 4, 3), labels, torch.zeros(2, 1, 3), way=4)
    assert episode.shots.tolist() == [[1, 0, 2, 0], [0, 2, 0, 0]]


@pytest.mark.parametrize("spec", ["logistic", "logistic(C='cv')"])
def test_a_regression_of_too_many_classes_is_refused_with_what_to_use(spec: str) -> None:
    labels = torch.arange(6000)[None]
    episode = Episode(torch.zeros(1, 6000, 2), labels, torch.zeros(1, 1, 2), way=6000)
    with pytest.raises(ValueError, match=r"6,000 classes and 6,000 rows .* 'l2 \| ridge', 'l2 \| lda' or 'prototypes'"):
        load_learner(spec)(episode)


def crowd(ways: int, shots: int, width: int = 32) -> tuple[np.ndarray, ...]:
    random = np.random.default_rng(0)
    centres = random.normal(size=(ways, width))
    parts = []
    for y in (np.repeat(np.arange(ways), shots), random.integers(0, ways, 500)):
        parts += [(centres[y] + 0.7 * random.normal(size=(len(y), width))).astype(np.float32), y]
    return tuple(parts)


def test_of_a_large_fold_some_rows_are_asked() -> None:
    X, y, *_ = crowd(700, 2)
    adapted = Adapted(load_learner("prototypes"), task(X, y, 700, torch.device("cpu")))
    few, all_rows = adapted.held_out(), adapted.held_out(whole=True)
    assert len(few.labels) == 512 and len(few.labels.unique()) == 512 and len(all_rows.labels) == 1400
    place = {int(row): number for number, row in enumerate(all_rows.rows)}
    same = all_rows.logits[[place[int(row)] for row in few.rows]]
    torch.testing.assert_close(few.logits, same)
    ratio = fit_temperature(few.logits, few.labels) / fit_temperature(all_rows.logits, all_rows.labels)
    assert 0.8 < ratio < 1.25


@pytest.mark.parametrize("learner", ["prototypes", "nearest", "ridge", "lda"])
def test_probabilities_of_many_classes_are_about_true_at_two_shots(learner: str) -> None:
    """Where `lda` has a covariance that it lacks without one of them."""
    X, y, X_new, y_new = crowd(300, 2)
    chance = FewShotClassifier(learner=learner).fit(X, y).predict_proba(X_new)
    right, stated = (chance.argmax(1) == y_new).mean(), chance.max(1).mean()
    assert abs(right - stated) < 0.12, (right, stated)


def test_the_gap_of_some_rows_is_about_that_of_all() -> None:
    X, y, *_ = crowd(200, 4)
    episode = task(X, y, 200, torch.device("cpu"))
    learner = load_learner("prototypes")
    state = learner.adapt(episode)
    logits = learner.predict(state, episode.support)[0]
    own = logits.gather(1, episode.labels[0].unsqueeze(1)).squeeze(1)
    every = (own - (logits.sum(1) - own) / 199).mean()
    torch.testing.assert_close(own_gap(learner, state, episode)[0], every, rtol=0.05, atol=0)


def test_some_rows_are_spread_and_the_same_at_each_call() -> None:
    assert some_rows(5, 3).tolist() == [0, 1, 2, 3, 4]  # too few to leave any out
    found = some_rows(10_000, 100)
    assert torch.equal(found, some_rows(10_000, 100)) and len(found.unique()) == 100
    assert 3000 < found.float().mean() < 7000 and torch.equal(found, found.sort().values)


def reference(logits: Tensor, labels: Tensor) -> float:
    """Platt's targets and a search, as `fit_temperature` says it."""
    x, count = logits.double().numpy(), len(logits)
    finite = np.isfinite(x)
    targets = np.where(finite, 1 / (count + 2) / np.maximum(finite.sum(1, keepdims=True) - 1, 1), 0.0)
    targets[np.arange(count), labels.numpy()] = (count + 1) / (count + 2)

    def loss(log_temperature: float) -> float:
        scaled = np.where(finite, x, -np.inf) / np.exp(log_temperature)
        scaled = scaled - scaled.max(1, keepdims=True)
        likely = scaled - np.log(np.exp(scaled).sum(1, keepdims=True))
        return -float((targets * np.where(finite, likely, 0)).sum()) / count

    return float(np.exp(minimize_scalar(loss, bounds=(-12, 12), method="bounded", options={"xatol": 1e-9}).x))


@pytest.mark.parametrize("size", [1e-3, 1.0, 300.0])
@pytest.mark.parametrize("lift", [0.2, 2.0, 30.0])
def test_temperature_is_the_minimum_of_the_loss(size: float, lift: float) -> None:
    random = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 6, (40,), generator=random)
    logits = torch.randn(40, 6, generator=random)
    logits[torch.arange(40), labels] += lift
    logits[:7][torch.arange(7), (labels[:7] + 1) % 6] = -torch.inf
    logits = size * logits
    assert fit_temperature(logits, labels) == pytest.approx(reference(logits, labels), rel=1e-4)


def test_means_of_many_classes_have_the_derivatives_of_those_of_few(monkeypatch: pytest.MonkeyPatch) -> None:
    episode = weighted(padded(make([3, 2, 4], dim=3, episodes=2)[0]))
    episode = episode.replace(support=episode.support.double(), query=episode.query.double())

    def means(rows: Tensor) -> Tensor:
        return linalg.class_means(episode.replace(support=rows))[0].square()

    rows = episode.support.clone().requires_grad_()
    (few,) = torch.autograd.grad(means(rows).sum(), rows)
    monkeypatch.setattr(linalg, "_WIDE", 1)
    (many,) = torch.autograd.grad(means(rows).sum(), rows)
    torch.testing.assert_close(many, few)
    assert torch.autograd.gradgradcheck(means, rows)
    stacked = torch.stack([episode.support, 2 * episode.support])
    torch.testing.assert_close(torch.func.vmap(means)(stacked), torch.stack([means(part) for part in stacked]))
