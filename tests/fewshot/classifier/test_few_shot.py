"""`FewShotClassifier` says the same as the learner under it, and names what it cannot take."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from classifier_examples import feature_learners
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestCentroid
from torch import Tensor

from episodes import Episode
from fewshot import Learner, list_learners, load_learner
from fewshot.classifier import FewShotClassifier
from fewshot.learners.prototypes import Prototypes


@pytest.mark.parametrize("name", feature_learners())
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_answers_are_those_of_the_learner(name: str, dtype: type, digits: tuple[np.ndarray, ...]) -> None:
    X, y, X_new, _ = digits
    X, X_new = X.astype(dtype), X_new.astype(dtype)
    classifier = FewShotClassifier(learner=name).fit(X, y)
    episode = Episode(torch.tensor(X)[None], torch.tensor(y)[None], torch.tensor(X_new)[None], way=10)
    with torch.no_grad():
        logits = load_learner(name)(episode)[0]
    decision = classifier.decision_function(X_new)
    assert decision.dtype == dtype
    np.testing.assert_allclose(decision, logits, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(classifier.predict(X_new), classifier.classes_[decision.argmax(1)])
    scaled = (logits / classifier.temperature_).softmax(1)
    np.testing.assert_allclose(classifier.predict_proba(X_new), scaled, rtol=1e-3, atol=1e-4)
    classifier.set_params(calibrated=False).fit(X, y)
    np.testing.assert_allclose(classifier.predict_proba(X_new), logits.softmax(1), rtol=1e-3, atol=1e-5)


@pytest.mark.filterwarnings("ignore:self.within_class_std_dev_ has at least 1 zero")  # blank pixels
def test_prototypes_are_the_nearest_centroids(digits: tuple[np.ndarray, ...]) -> None:
    X, y, X_new, _ = digits
    expected = NearestCentroid().fit(X, y).predict(X_new)
    np.testing.assert_array_equal(FewShotClassifier(learner="prototypes").fit(X, y).predict(X_new), expected)


@pytest.mark.skipif("logistic" not in list_learners(), reason="needs the learner 'logistic'")
def test_logistic_is_scikit_learns(digits: tuple[np.ndarray, ...]) -> None:
    X, y, X_new, _ = digits
    ours = FewShotClassifier(learner="logistic(C=1.0)").fit(X, y).decision_function(X_new)
    theirs = LogisticRegression(C=1.0, tol=1e-10, max_iter=10_000).fit(X, y).decision_function(X_new)
    np.testing.assert_allclose(ours - ours.mean(1, keepdims=True), theirs - theirs.mean(1, keepdims=True), atol=1e-4)


@pytest.mark.parametrize("batch_size", [1, 7, 400, 1000])
def test_steps_of_any_size_give_the_same(batch_size: int, digits: tuple[np.ndarray, ...]) -> None:
    X, y, X_new, _ = digits
    whole = FewShotClassifier().fit(X, y).predict_proba(X_new)
    parts = FewShotClassifier(batch_size=batch_size).fit(X, y).predict_proba(X_new)
    np.testing.assert_allclose(parts, whole, atol=1e-12)


def test_step_is_bounded_by_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, predict = [], Prototypes.predict

    def watched(self: Prototypes, state: Any, query: Tensor) -> Tensor:
        rows.append(query.shape[1])
        return predict(self, state, query)

    monkeypatch.setattr(Prototypes, "predict", watched)
    X = np.random.default_rng(0).normal(size=(20_000, 64)).astype(np.float32)
    FewShotClassifier(learner="prototypes", calibrated=False).fit(X[:100], np.arange(100)).predict(X)
    assert sum(rows) == 20_000
    assert max(rows) * 64 * 100 <= 2**24


class QueryCentred(Prototypes):
    """Transductive: the mean of the queries is the origin."""

    name = "query-centred"
    transductive = True

    def predict(self, state: Any, query: Tensor) -> Tensor:
        return super().predict(state, query - query.mean(1, keepdim=True))


def test_transductive_learner_sees_all_queries_of_a_call(digits: tuple[np.ndarray, ...]) -> None:
    X, y, X_new, _ = digits
    classifier = FewShotClassifier(learner=QueryCentred(), batch_size=8).fit(X, y)
    expected = FewShotClassifier(learner="prototypes").fit(X, y).decision_function(X_new - X_new.mean(0))
    np.testing.assert_allclose(classifier.decision_function(X_new), expected, atol=1e-10)
    with pytest.warns(UserWarning, match="transductive.*a row alone"):
        classifier.predict(X_new[:1])


@pytest.mark.parametrize("name", feature_learners(transductive=True))
def test_transductive_learners_work(name: str, digits: tuple[np.ndarray, ...]) -> None:
    X, y, X_new, y_new = digits
    assert FewShotClassifier(learner=name).fit(X, y).score(X_new, y_new) > 0.6


def test_one_shot_one_class_and_two_classes() -> None:
    X = np.eye(3)
    np.testing.assert_array_equal(FewShotClassifier().fit(X, [7, 8, 9]).predict(X), [7, 8, 9])
    lonely = FewShotClassifier().fit(X, ["owl"] * 3)
    assert lonely.predict_proba(X).tolist() == [[1.0]] * 3
    assert lonely.explain(X)[0].runner_up is None
    two = FewShotClassifier().fit(X, [False, True, True])
    assert two.decision_function(X).shape == (3,)
    assert two.predict(X).tolist() == [False, True, True]


@pytest.mark.parametrize("labels", [["crow", "owl"], [3, -2], [True, False], [0.0, 1.0]])
def test_labels_of_any_kind(labels: list[Any]) -> None:
    X = [[0.0, 1.0], [1.0, 0.0]]
    assert FewShotClassifier().fit(X, labels).predict(X).tolist() == labels
    assert FewShotClassifier().fit(X, np.array(labels, dtype=object)).predict(X).tolist() == labels


def test_labels_that_are_no_classes() -> None:
    for y in ([0.5, 1.0], np.array([1, "owl"], dtype=object), np.array([None, None])):
        with pytest.raises(ValueError, match="Unknown label type"):
            FewShotClassifier().fit([[0.0], [1.0]], y)


def test_many_classes_of_one_example_are_no_regression() -> None:
    X = np.eye(60)  # warnings are errors here, and scikit-learn's own check warns of this
    assert FewShotClassifier().fit(X, np.arange(60)).score(X, np.arange(60)) == 1


def test_rows_are_copied(digits: tuple[np.ndarray, ...]) -> None:
    X, y, *_ = digits
    kept, classifier = X.copy(), FewShotClassifier().fit(X, y)
    np.testing.assert_array_equal(X, kept)
    X[:] = 0
    np.testing.assert_array_equal(classifier.support_, kept)


def test_tensors_are_taken_as_arrays(digits: tuple[np.ndarray, ...]) -> None:
    X, y, X_new, _ = digits
    expected = FewShotClassifier().fit(X, y).predict(X_new)
    tensors = FewShotClassifier().fit(torch.tensor(X).half(), torch.tensor(y))
    assert (tensors.predict(torch.tensor(X_new, requires_grad=True)) == expected).mean() > 0.99


def test_bad_input_is_named() -> None:
    X, y = np.eye(4), [0, 0, 1, 1]
    fitted = FewShotClassifier().fit(X, y)
    for message, call in {
        "learner=3; give a spec string": lambda: FewShotClassifier(learner=3).fit(X, y),
        "reject=2": lambda: FewShotClassifier(reject=2).fit(X, y),
        "batch_size=0": lambda: FewShotClassifier(batch_size=0).fit(X, y),
        "inconsistent numbers of samples": lambda: FewShotClassifier().fit(X, y[:3]),
        "contains NaN": lambda: FewShotClassifier().fit(X * np.nan, y),
        "name an encoder": lambda: FewShotClassifier().fit(["a.jpg", "b.jpg"], [0, 1]),
        r"X is \[2, 3, 8, 8\].*flatten": lambda: FewShotClassifier().fit(np.zeros((2, 3, 8, 8)), [0, 1]),
        "X has 3 features, but FewShotClassifier is expecting 4": lambda: fitted.predict(X[:, :3]),
        "X and y together": lambda: fitted.calibrate(X),
        r"y contains \[5\]": lambda: fitted.calibrate(X, [0, 1, 5, 5]),
    }.items():
        with pytest.raises(ValueError, match=message):
            call()


def test_learner_that_answers_nan_is_an_error() -> None:
    class Broken(Prototypes):
        def predict(self, state: Any, query: Tensor) -> Tensor:
            return super().predict(state, query) * torch.nan

    with pytest.raises(ValueError, match="answers NaN"):
        FewShotClassifier(learner=Broken()).fit(np.eye(2), [0, 1]).predict(np.eye(2))


class FlatImages(Learner):
    """Class means of raw pixels."""

    name = "flat-images"
    inputs = "images"

    def __init__(self) -> None:
        super().__init__()

    def adapt(self, episode: Episode) -> Any:
        return Prototypes().adapt(episode.replace(support=episode.support.flatten(2)))

    def predict(self, state: Any, query: Tensor) -> Tensor:
        return Prototypes().predict(state, query.flatten(2))


def test_learner_on_pixels_takes_images() -> None:
    images = np.random.default_rng(0).integers(0, 256, size=(6, 3, 4, 4), dtype=np.uint8)
    classifier = FewShotClassifier(learner=FlatImages()).fit(images, [0, 1, 2, 0, 1, 2])
    assert classifier.support_.dtype == np.float32
    assert classifier.support_.max() <= 1
    flat = FewShotClassifier().fit(images.reshape(6, -1) / np.float32(255), [0, 1, 2, 0, 1, 2])
    np.testing.assert_array_equal(classifier.predict(images), flat.predict(images.reshape(6, -1) / np.float32(255)))
    with pytest.raises(ValueError, match=r"takes images, an array \[n, C, H, W\]"):
        classifier.predict(images.reshape(6, -1))
    with pytest.raises(ValueError, match=r"rows of shape \[3, 4, 4\] were fitted"):
        classifier.predict(images[:, :, :2])
