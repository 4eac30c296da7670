"""Estimators of scikit-learn as learners."""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from learner_episodes import make, padded

from fewshot import load_learner
from fewshot.learners.scikit_learn import SklearnLearner


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


def test_an_estimator_by_name_cannot_reach_other_packages() -> None:
    with pytest.raises(ValueError, match="unknown scikit-learn classifier"):
        load_learner("sklearn(estimator='sklearn.utils.os.system')")
