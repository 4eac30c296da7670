"""Prototypes, nearest, ridge, logistic and scikit-learn: against numpy, scikit-learn and easyfsl."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import references.basic as references
import torch
from learner_episodes import DIM, expect, make, padded, up_to_a_constant
from torch import Tensor

from fewshot.learners import Logistic, Nearest, Prototypes, Ridge
from fewshot.learners.scikit_learn import SklearnLearner

LEARNERS: dict[str, tuple[Callable[[], torch.nn.Module], Callable[..., Any]]] = {
    "prototypes": (Prototypes, references.prototypes),
    "nearest": (Nearest, references.nearest),
    "nearest-k3": (lambda: Nearest(k=3), lambda *a: references.nearest(*a, k=3)),
    "nearest-k5-cosine": (
        lambda: Nearest(k=5, distance="cosine"),
        lambda *a: references.nearest(*a, k=5, distance="cosine"),
    ),
    "nearest-k3-distance": (
        lambda: Nearest(k=3, weights="distance"),
        lambda *a: references.nearest(*a, k=3, weights="distance"),
    ),
    "ridge": (lambda: Ridge(alpha=1.0), references.ridge),
    "ridge-auto": (Ridge, references.ridge_beside_means),
    "ridge-means": (lambda: Ridge(means=2.0), lambda *a: references.ridge_beside_means(*a, before=2.0)),
    "ridge-alone": (
        lambda: Ridge(means=0.0),
        lambda *a: references.ridge(*a, alpha=references.scatter(*a[:2], per_class=True)),
    ),
    "ridge-no-intercept": (
        lambda: Ridge(alpha=0.1, scale=3.0, fit_intercept=False),
        lambda *a: references.ridge(*a, alpha=0.1, scale=3.0, fit_intercept=False),
    ),
    "logistic": (lambda: Logistic(C=1.0), references.logistic),
    "logistic-auto": (Logistic, lambda *a: references.logistic(*a, C=3 / references.scatter(*a[:2]))),
    "logistic-weak": (lambda: Logistic(C=1e-3), lambda *a: references.logistic(*a, C=1e-3)),
    "logistic-strong": (lambda: Logistic(C=1e3), lambda *a: references.logistic(*a, C=1e3)),
}


@pytest.mark.parametrize("name", LEARNERS)
@pytest.mark.parametrize(
    ("shots", "dim"),
    [([1, 1, 1, 1], DIM), ([3, 3, 3, 3], DIM), ([5, 5, 5, 5], DIM), ([1, 4, 2, 7], DIM), ([2, 0, 3, 2], DIM),
     ([3, 3], DIM), ([0, 2, 4], DIM), ([9, 9, 9], 2)],
    ids=lambda value: "-".join(map(str, value)) if isinstance(value, list) else f"dim{value}",
)  # fmt: skip
def test_equals_the_numpy_reference(name: str, shots: list[int], dim: int) -> None:
    build, reference = LEARNERS[name]
    episode, _ = make(shots, dim=dim)
    logits, expected = build()(episode), expect(reference, episode)
    if name == "prototypes":  # |q|² is left out
        logits, expected = up_to_a_constant(logits), up_to_a_constant(expected)
    # Two-class logistic regression has one weight vector; a softmax sees the same difference.
    torch.testing.assert_close(logits, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", LEARNERS)
def test_single_precision_follows_double(name: str) -> None:
    build, _ = LEARNERS[name]
    episode, _ = make([2, 3, 1, 4])
    single = build()(episode.replace(support=episode.support.float(), query=episode.query.float()))
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), build()(episode), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", LEARNERS)
def test_batch_and_padding_change_nothing(name: str) -> None:
    build, _ = LEARNERS[name]
    learner = build()
    episode, _ = make([2, 3, 1, 4], dtype=torch.float32)
    logits = learner(episode)
    alone = torch.cat([learner(one) for one in episode])
    torch.testing.assert_close(alone, logits, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(learner(padded(episode)), logits, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", LEARNERS)
def test_support_order_and_class_names_do_not_matter(name: str) -> None:
    build, _ = LEARNERS[name]
    learner = build()
    episode, _ = make([2, 3, 1, 4])
    order, names = torch.tensor([7, 2, 9, 0, 1, 8, 3, 6, 5, 4]), torch.tensor([2, 0, 3, 1])
    shuffled = episode.replace(support=episode.support[:, order], labels=names[episode.labels[:, order]])
    torch.testing.assert_close(learner(shuffled)[..., names], learner(episode), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "learner",
    [Prototypes(), Prototypes(distance="cosine"), Ridge(), Ridge(fit_intercept=False), Ridge(alpha=1.0), Logistic(C=0.5),
     Nearest()],
    ids=repr,
)  # fmt: skip
@pytest.mark.parametrize("dim", [3, 9])
def test_gradients(learner: torch.nn.Module, dim: int) -> None:
    episode, _ = make([1, 2, 0, 2], dim=dim, episodes=2, query=1)
    episode = padded(episode, rows=1)
    episode.support[episode.labels < 0] /= 1e3  # keep finite differences of comparable size

    def finite(support: Tensor, query: Tensor) -> Tensor:
        logits = learner(episode.replace(support=support, query=query))
        return logits[..., [0, 1, 3]].log_softmax(-1)

    inputs = (episode.support.clone().requires_grad_(), episode.query.clone().requires_grad_())
    # The logistic optimum is found to 1e-5 or better, which bounds finite differences of it.
    close = {"eps": 1e-4, "atol": 1e-4, "rtol": 1e-3} if isinstance(learner, Logistic) else {"eps": 1e-6}
    assert torch.autograd.gradcheck(finite, inputs, **close)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Nearest(k=0), r"k=0; it must be an integer of at least 1"),
        (lambda: Nearest(distance="manhattan"), "'euclidean' or 'cosine'"),
        (lambda: Nearest(weights="inverse"), "'uniform' or 'distance'"),
        (lambda: Ridge(alpha=0), "alpha=0; it must be 'auto' \\(relative to the features\\) or positive"),
        (lambda: Ridge(means=-1.0), "means=-1.0; it must be 'auto', or at least 0 and finite"),
        (lambda: Logistic(C=-1), "C=-1; it must be positive"),
        (lambda: Logistic(C=float("nan")), "C=nan; it must be positive"),
        (lambda: SklearnLearner("RidgeClasifier"), "did you mean 'RidgeClassifier'"),
        (lambda: SklearnLearner("sklearn.svm.SVM"), "unknown scikit-learn classifier 'sklearn.svm.SVM'"),
        (lambda: SklearnLearner("os.system"), "unknown scikit-learn classifier 'os.system'"),
        (lambda: SklearnLearner("sklearn.svm.SVR"), "unknown scikit-learn classifier"),
        (lambda: SklearnLearner("SVC", {"c": 1}), "unexpected keyword argument 'c'"),
        (lambda: SklearnLearner(3), "estimator=3; it must be a classifier"),
    ],
)
def test_wrong_arguments_are_explained(build: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()
