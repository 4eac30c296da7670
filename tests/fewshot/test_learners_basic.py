"""Prototypes, nearest, ridge, logistic and scikit-learn: against numpy, scikit-learn and easyfsl."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import references
import torch
from learner_episodes import DIM, expect, make, padded, up_to_a_constant
from torch import Tensor

from episodes import Episode
from fewshot import ConvergenceWarning, load_learner
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
    "ridge-auto": (Ridge, lambda *a: references.ridge(*a, alpha=references.scatter(*a[:2], per_class=True))),
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


@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
@pytest.mark.parametrize("weights", ["uniform", "distance"])
@pytest.mark.parametrize("k", [1, 3, 7])
def test_nearest_equals_scikit_learn(k: int, distance: str, weights: str) -> None:
    from sklearn.neighbors import KNeighborsClassifier

    episode, _ = make([4, 4, 4], episodes=20, dtype=torch.float32)
    ours = Nearest(k=k, distance=distance, weights=weights)(episode)
    compared = 0
    for e in range(len(episode)):
        peer = KNeighborsClassifier(n_neighbors=k, weights=weights, metric=distance, algorithm="brute")
        peer.fit(episode.support[e].double().numpy(), episode.labels[e].numpy())
        shares = torch.from_numpy(peer.predict_proba(episode.query[e].double().numpy()))
        top = shares.topk(2, dim=-1).values
        clear = top[:, 0] - top[:, 1] > 1e-6  # a draw is theirs by label, ours by distance
        assert torch.equal(ours[e].argmax(-1)[clear], shares.argmax(-1)[clear])
        compared += int(clear.sum())
    assert compared > 0.6 * ours.shape[0] * ours.shape[1]  # seven votes for three classes often draw


def test_nearest_breaks_draws_by_distance_and_lets_equally_far_rows_vote() -> None:
    # Distances to the query at 0: class 0 at 1 and 4, class 1 at 2 and 3: two votes each, class 0 is nearer.
    support = torch.tensor([[[1.0], [4.0], [2.0], [3.0]]])
    labels, query = torch.tensor([[0, 0, 1, 1]]), torch.zeros(1, 1, 1)
    for names in ([0, 1], [1, 0]):
        renamed = torch.tensor(names)[labels]
        assert Nearest(k=4)(Episode(support, renamed, query, way=2)).argmax() == names[0]
    # k = 2: the second and third row are equally far, on either side, so both vote whatever their order.
    support = torch.tensor([[[1.0], [2.0], [-2.0], [9.0]]])
    for order in ([0, 1, 2, 3], [0, 2, 1, 3], [3, 2, 1, 0]):
        episode = Episode(support[:, order], torch.tensor([[0, 1, 1, 2]])[:, order], query, way=3)
        assert Nearest(k=2)(episode).argmax() == 1


def test_equal_rows_of_two_classes_draw() -> None:
    random = torch.Generator().manual_seed(0)
    rows = 30 + torch.randn(1, 3, 64, generator=random)
    episode = Episode(rows[:, [0, 0, 1, 2]], torch.tensor([[0, 1, 2, 2]]), rows[:, :1].clone(), way=3)
    for learner in (Nearest(), Nearest(k=2), Nearest(k=2, weights="distance")):
        logits = learner(episode)[0, 0]
        assert logits[0] == logits[1] > logits[2]


@pytest.mark.parametrize("shots", [[1, 1, 1, 1, 1], [5, 5, 5, 5, 5], [1, 7, 2, 3, 1], [2, 3]])
@pytest.mark.parametrize("dim", [3, 40])
def test_ridge_equals_scikit_learn(shots: list[int], dim: int) -> None:
    from sklearn.linear_model import Ridge as Peer
    from sklearn.linear_model import RidgeClassifier

    episode, _ = make(shots, dim=dim)
    ours = Ridge(alpha=0.3)(episode).numpy()
    for e in range(len(episode)):
        support, labels = episode.support[e].numpy(), episode.labels[e].numpy()
        query = episode.query[e].numpy()
        regression = Peer(alpha=0.3).fit(support, np.eye(len(shots))[labels])
        np.testing.assert_allclose(ours[e], regression.predict(query), atol=1e-9)
        decision = RidgeClassifier(alpha=0.3).fit(support, labels).decision_function(query)
        mine = 2 * ours[e] - 1
        np.testing.assert_allclose(mine[:, 1] if len(shots) == 2 else mine, decision, atol=1e-9)


def test_ridge_stands_badly_scaled_rows() -> None:
    from sklearn.linear_model import Ridge as Peer

    episode, _ = make([3, 3, 3], dtype=torch.float32, spread=2.0)
    twice = torch.cat([episode.support, episode.support], 1)  # equal rows: a singular Gram matrix
    large = episode.replace(
        support=1e3 * twice + 1e4, labels=torch.cat([episode.labels] * 2, 1), query=1e3 * episode.query + 1e4
    )
    logits = Ridge(alpha=1e-3)(large).double().numpy()
    for e in range(len(large)):  # the singular value decomposition is the road that squares nothing
        peer = Peer(alpha=1e-3, solver="svd")
        peer.fit(large.support[e].double().numpy(), np.eye(3)[large.labels[e]])
        np.testing.assert_allclose(logits[e], peer.predict(large.query[e].double().numpy()), atol=1e-4)


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


@pytest.mark.parametrize(
    "learner",
    [Prototypes(), Prototypes(distance="cosine"), Ridge(), Ridge(fit_intercept=False), Logistic(C=0.5),
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


def test_logistic_refuses_second_derivatives() -> None:
    episode, _ = make([2, 2])
    support = episode.support.clone().requires_grad_()
    loss = Logistic()(episode.replace(support=support)).square().sum()
    (gradient,) = torch.autograd.grad(loss, support, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def test_prototypes_equal_easyfsl() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its imports, not ours
        methods = pytest.importorskip("easyfsl.methods", reason="easyfsl is not installed")
        peer = methods.PrototypicalNetworks(torch.nn.Identity())
    learner = Prototypes()
    for shot in (1, 5):
        episode, _ = make([shot] * 5, dim=64, episodes=250, dtype=torch.float32, query=15, spread=0.2)
        ours = learner(episode).argmax(-1)
        for e in range(len(episode)):
            peer.process_support_set(episode.support[e], episode.labels[e])
            theirs = peer(episode.query[e])
            assert torch.equal(ours[e], theirs.argmax(-1))


@pytest.mark.parametrize(
    ("estimator", "arguments"),
    [
        ("sklearn.linear_model.RidgeClassifier", {"alpha": 0.5}),
        ("SVC", {"kernel": "linear"}),
        ("sklearn.neighbors.KNeighborsClassifier", {"n_neighbors": 1}),
        ("sklearn.ensemble.RandomForestClassifier", {"n_estimators": 5}),
        ("sklearn.neighbors.NearestCentroid", None),
        ("sklearn.semi_supervised.LabelSpreading", {"kernel": "knn", "n_neighbors": 3}),
    ],
)
@pytest.mark.parametrize("shots", [[3, 3, 3], [3, 0, 4], [4, 4]])
def test_sklearn_predicts_what_the_estimator_predicts(
    estimator: str, arguments: dict[str, Any] | None, shots: list[int]
) -> None:
    from sklearn.utils import all_estimators

    episode, _ = make(shots, episodes=3, spread=2.0)
    learner = SklearnLearner(estimator, arguments)
    assert repr(load_learner(repr(learner))) == repr(learner)
    logits = learner(padded(episode))
    absent = torch.tensor(shots) == 0
    assert (logits[..., absent] == -torch.inf).all()
    assert logits[..., ~absent].isfinite().all()
    kind = dict(all_estimators(type_filter="classifier"))[estimator.rpartition(".")[2]]
    for e in range(len(episode)):
        peer = kind(**(arguments or {}))
        if "random_state" in peer.get_params():
            peer.set_params(random_state=e)
        peer.fit(episode.support[e].numpy(), episode.labels[e].numpy())
        np.testing.assert_array_equal(logits[e].argmax(-1).numpy(), peer.predict(episode.query[e].numpy()))


def test_sklearn_is_searched_for_a_name_when_it_is_given_and_not_again(monkeypatch: pytest.MonkeyPatch) -> None:
    import sklearn.utils

    from fewshot.learners import scikit_learn

    episode, _ = make([3, 3, 3], episodes=3)
    learner = SklearnLearner("LinearDiscriminantAnalysis")
    expected = learner(episode)

    def scan(*_: Any, **__: Any) -> Any:
        raise AssertionError("scikit-learn was scanned again")

    monkeypatch.setattr(sklearn.utils, "all_estimators", scan)
    monkeypatch.setattr(scikit_learn, "_find", scan)
    torch.testing.assert_close(learner(episode), expected)
    torch.testing.assert_close(copy.deepcopy(learner)(episode), expected)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: learner(episode), range(8)))
    assert all(torch.equal(answer, expected) for answer in answers)


def test_sklearn_logits_of_two_classes_are_the_log_odds() -> None:
    from sklearn.linear_model import LogisticRegression

    episode, _ = make([4, 4], episodes=2)
    logits = SklearnLearner(LogisticRegression())(episode)
    for e in range(2):
        peer = LogisticRegression().fit(episode.support[e].numpy(), episode.labels[e].numpy())
        expected = peer.predict_proba(episode.query[e].numpy())
        np.testing.assert_allclose(logits[e].softmax(-1).numpy(), expected, atol=1e-12)


def test_sklearn_takes_an_estimator_and_leaves_it_alone() -> None:
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    episode, targets = make([3, 3, 3], spread=3.0)
    estimator = SVC(C=2.0)
    learner = SklearnLearner(estimator)
    assert (learner(episode).argmax(-1) == targets).double().mean() > 0.9
    assert not hasattr(estimator, "classes_")
    assert repr(learner) == "sklearn(estimator='sklearn.svm.SVC', arguments={'C': 2.0})"
    torch.testing.assert_close(load_learner(repr(learner))(episode), learner(episode))
    piped = SklearnLearner(make_pipeline(StandardScaler(), SVC()))
    assert (piped(episode).argmax(-1) == targets).double().mean() > 0.9
    assert repr(piped).startswith("sklearn(estimator=Pipeline(")


def test_sklearn_with_a_single_class_present() -> None:
    episode, _ = make([0, 3, 0])
    logits = SklearnLearner()(episode)
    assert (logits.argmax(-1) == 1).all()


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Nearest(k=0), r"k=0; it must be an integer of at least 1"),
        (lambda: Nearest(distance="manhattan"), "'euclidean' or 'cosine'"),
        (lambda: Nearest(weights="inverse"), "'uniform' or 'distance'"),
        (lambda: Ridge(alpha=0), "alpha=0; it must be 'auto' \\(relative to the features\\) or positive"),
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


def test_an_estimator_by_name_cannot_reach_other_packages() -> None:
    with pytest.raises(ValueError, match="unknown scikit-learn classifier"):
        load_learner("sklearn(estimator='sklearn.utils.os.system')")


@pytest.mark.parametrize("shots", [[1, 1, 1], [4, 4, 4], [5] * 5, [3, 1, 2], [2, 3]])
def test_logistic_without_information_knows_the_class_frequencies(
    shots: list[int],
) -> None:
    labels = torch.arange(len(shots)).repeat_interleave(torch.tensor(shots))[None]
    episode = Episode(torch.zeros(1, sum(shots), 8), labels, torch.zeros(1, 1, 8), way=len(shots))
    shares = torch.tensor(shots) / sum(shots)
    torch.testing.assert_close(Logistic()(episode)[0, 0].softmax(-1), shares)
