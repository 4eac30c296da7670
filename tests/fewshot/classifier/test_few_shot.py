"""`FewShotClassifier` keeps scikit-learn's contract, and says the same as the learner under it."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split
from sklearn.neighbors import NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from torch import Tensor, nn

from episodes import Episode
from fewshot import Learner, list_learners, load_learner
from fewshot.classifier import FewShotClassifier
from fewshot.classifier.calibration import fit_temperature
from fewshot.learners.prototypes import Prototypes


def feature_learners(*, transductive: bool = False) -> list[str]:
    """Names of the registered learners that need nothing but labelled features."""
    made = {name: load_learner(name) for name in list_learners()}
    return [
        name
        for name, learner in made.items()
        if learner.inputs == "features"
        and learner.needs == ("support",)
        and learner.transductive == transductive
        and not hasattr(learner, "item_shape")  # made for rows of one size
    ]


@pytest.fixture
def digits() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """50 labelled digits and 400 others: X, y, X_new, y_new."""
    X, y = load_digits(return_X_y=True)
    X, X_new, y, y_new = train_test_split(X / 16, y, train_size=50, test_size=400, stratify=y, random_state=0)
    return X, y, X_new, y_new


# ---------------------------------------------------------------------- scikit-learn's contract


def expected_failures(estimator: FewShotClassifier) -> dict[str, str]:
    """What a learner cannot pass by its nature."""
    # Later releases make this check only of estimators that say they take sparse rows.
    failures = {"check_sample_weight_equivalence_on_sparse_data": "it takes no sparse rows, and says so"}
    if estimator.learner == "subspace":
        reason = "its data has two features, and the examples of every class span the whole plane"
        failures["check_classifiers_train"] = reason
    if not load_learner(estimator.learner).weighted:
        failures |= dict.fromkeys(WEIGHT_CHECKS, "it cannot weigh its examples, and says so")
    elif estimator.calibrated:
        failures["check_sample_weight_equivalence_on_dense_data"] = "an example and its copy fall into different folds"
    return failures


WEIGHT_CHECKS = (
    "check_sample_weights_pandas_series",
    "check_sample_weights_not_an_array",
    "check_sample_weights_list",
    "check_sample_weights_not_overwritten",
    "check_all_zero_sample_weights_error",
    "check_sample_weights_shape",
    "check_classifiers_one_label_sample_weights",
    "check_sample_weight_equivalence_on_dense_data",
)


@parametrize_with_checks(
    [FewShotClassifier(learner=name, calibrated=False) for name in feature_learners()],
    expected_failed_checks=expected_failures,
)
@pytest.mark.filterwarnings("ignore::fewshot.ConvergenceWarning")  # random labels, far from zero
def test_scikit_learn_checks(estimator: FewShotClassifier, check: Any) -> None:
    check(estimator)


@parametrize_with_checks(
    [FewShotClassifier(), FewShotClassifier(learner=Prototypes("cosine")), FewShotClassifier(batch_size=3)],
    expected_failed_checks=expected_failures,
)
@pytest.mark.filterwarnings("ignore::fewshot.ConvergenceWarning")  # random labels, far from zero
def test_scikit_learn_checks_with_other_parameters(estimator: FewShotClassifier, check: Any) -> None:
    check(estimator)


def test_import_of_the_library_leaves_scikit_learn_alone() -> None:
    code = "import sys, fewshot, fewshot.learners.prototypes; assert 'sklearn' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_unfitted_classifier_says_so() -> None:
    for method in ("predict", "predict_proba", "decision_function", "explain"):
        with pytest.raises(NotFittedError):
            getattr(FewShotClassifier(), method)([[0.0]])
    with pytest.raises(NotFittedError):
        FewShotClassifier().calibrate()
    with pytest.raises(NotFittedError):
        FewShotClassifier().save("nowhere")


def test_failed_fit_leaves_the_earlier_one(digits: tuple[np.ndarray, ...]) -> None:
    X, y, X_new, _ = digits
    classifier = FewShotClassifier().fit(X, y)
    before = classifier.predict_proba(X_new)
    with pytest.raises(ValueError, match="names"):
        classifier.partial_fit(X, np.full(50, "three"))
    np.testing.assert_array_equal(classifier.predict_proba(X_new), before)


def test_works_in_pipeline_search_and_cross_validation(digits: tuple[np.ndarray, ...]) -> None:
    X, y, X_new, y_new = digits
    pipeline = make_pipeline(StandardScaler(), FewShotClassifier(learner="prototypes"))
    assert cross_val_score(pipeline, X, y, cv=5).mean() > 0.6
    grid = {"fewshotclassifier__learner__distance": ["euclidean", "cosine"]}
    search = GridSearchCV(pipeline, grid, cv=3).fit(X, y)
    assert search.score(X_new, y_new) > 0.6
    tried = {params["fewshotclassifier__learner__distance"] for params in search.cv_results_["params"]}
    assert tried == {"euclidean", "cosine"}


@pytest.mark.skipif("ridge" not in list_learners(), reason="needs the learner 'ridge'")
@pytest.mark.parametrize("as_object", [False, True])
def test_grid_search_over_a_hyper_parameter_of_the_learner(digits: tuple[np.ndarray, ...], *, as_object: bool) -> None:
    X, y, *_ = digits
    learner = load_learner("ridge") if as_object else "l2 | ridge"
    alphas = np.logspace(-3, 4, 4)  # numpy scalars, which no spec string can hold as they are
    search = GridSearchCV(FewShotClassifier(learner=learner), {"learner__alpha": alphas}, cv=3).fit(X, y)
    by_hand = [
        cross_val_score(FewShotClassifier(learner=f"{'' if as_object else 'l2 | '}ridge(alpha={a!r})"), X, y, cv=3)
        for a in alphas.tolist()
    ]
    np.testing.assert_allclose(search.cv_results_["mean_test_score"], [s.mean() for s in by_hand])
    assert search.best_estimator_.get_params()["learner__alpha"] in alphas
    assert repr(learner) == repr(load_learner("ridge")) if as_object else learner == "l2 | ridge"


# ---------------------------------------------------------------------- parameters of the learner


def test_hyper_parameters_of_the_learner_are_parameters() -> None:
    params = FewShotClassifier(learner="prototypes(scale=2.0)").get_params()
    assert params["learner__scale"] == 2.0
    assert params["learner__distance"] == "euclidean"
    assert not any(name.startswith("learner__") for name in FewShotClassifier().get_params(deep=False))


def test_setting_them_makes_a_new_spec_string() -> None:
    classifier = FewShotClassifier(learner="prototypes").set_params(learner__scale=np.float64(3), reject=0.5)
    assert (classifier.learner, classifier.reject) == ("prototypes(scale=3.0)", 0.5)
    classifier.set_params(learner__distance="cosine", learner="prototypes")  # the learner is set first
    assert classifier.learner == "prototypes(distance='cosine')"


def test_setting_them_leaves_a_shared_instance_alone() -> None:
    shared = Prototypes()
    one, other = FewShotClassifier(learner=shared), FewShotClassifier(learner=shared)
    one.set_params(learner__scale=5.0)
    assert (one.learner.scale, other.learner.scale, shared.scale) == (5.0, 1.0, 1.0)
    assert clone(other).learner is not shared


@pytest.mark.parametrize(
    ("spec", "address", "value", "changed"),
    [
        ("power(beta=0.5) | prototypes", "distance", "cosine", "power | prototypes(distance='cosine')"),
        ("power | l2 | prototypes", "power__beta", 0.25, "power(beta=0.25) | l2 | prototypes"),
    ],
)
def test_chain(spec: str, address: str, value: Any, changed: str) -> None:
    pytest.importorskip("fewshot.transforms")
    classifier = FewShotClassifier(learner=spec)
    assert f"learner__{address}" in classifier.get_params()
    assert classifier.set_params(**{f"learner__{address}": value}).learner == changed
    instance = load_learner(spec)
    changed_instance = FewShotClassifier(learner=instance).set_params(**{f"learner__{address}": value}).learner
    assert repr(changed_instance) == changed
    assert repr(instance) == repr(load_learner(spec))


def test_a_learner_that_uses_words_is_sent_to_the_other_classifier() -> None:
    with pytest.raises(ValueError, match=r"ZeroShotClassifier\(encoder, learner='tip-adapter'\) has them"):
        FewShotClassifier(learner="tip-adapter").fit(np.eye(4), [0, 0, 1, 1])


def test_unknown_hyper_parameter_gets_a_suggestion() -> None:
    with pytest.raises(ValueError, match="did you mean 'scale'"):
        FewShotClassifier(learner="prototypes").set_params(learner__skale=1)
    with pytest.raises(ValueError, match="unknown parameter of 'prototypes'"):
        FewShotClassifier(learner="prototypes").set_params(learner__power__beta=1)
    with pytest.raises(ValueError, match=r"unknown learner 'prototype'.*did you mean 'prototypes'"):
        FewShotClassifier(learner="prototype").fit([[0.0], [1.0]], [0, 1])
    assert "learner__scale" not in FewShotClassifier(learner="prototype").get_params()  # but no error yet


class Weighted(Prototypes):
    """Class means under a learned weight of each feature."""

    name = "weighted"

    def __init__(self, features: int = 64, scale: float = 1.0) -> None:
        super().__init__(scale=scale)
        self.features = features
        self.weight = nn.Parameter(torch.ones(features))

    def adapt(self, episode: Episode) -> Any:
        return super().adapt(episode.replace(support=episode.support * self.weight))

    def predict(self, state: Any, query: Tensor) -> Tensor:
        return super().predict(state, query * self.weight)


def test_learned_weights_are_kept_by_set_params_clone_and_fit(digits: tuple[np.ndarray, ...]) -> None:
    X, y, X_new, _ = digits
    learner = Weighted()
    with torch.no_grad():
        learner.weight.uniform_(0, 1, generator=torch.Generator().manual_seed(0))
    classifier = clone(FewShotClassifier(learner=learner).set_params(learner__scale=2.0)).fit(X, y)
    assert torch.equal(classifier.learner.weight, learner.weight)
    assert classifier.learner_.weight.dtype == torch.float64  # a copy, in the precision of X
    assert learner.weight.dtype == torch.float32
    expected = FewShotClassifier(learner="prototypes").fit(X * learner.weight.detach().numpy(), y)
    np.testing.assert_array_equal(classifier.predict(X_new), expected.predict(X_new * learner.weight.detach().numpy()))
    with pytest.raises(ValueError, match="do not fit features=3"):
        FewShotClassifier(learner=learner).set_params(learner__features=3)


# ---------------------------------------------------------------------- answers


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


# ---------------------------------------------------------------------- partial_fit


@pytest.mark.parametrize("name", feature_learners())
def test_partial_fits_add_up_to_one_fit(name: str, digits: tuple[np.ndarray, ...]) -> None:
    X, y, X_new, _ = digits
    order = np.argsort(y, kind="stable")  # whole classes arrive late, and numbers of classes shift
    X, y = X[order][::-1], y[order][::-1]
    parts = FewShotClassifier(learner=name, calibrated=False)
    for start in range(0, 50, 13):
        parts.partial_fit(X[start : start + 13], y[start : start + 13])
    whole = FewShotClassifier(learner=name, calibrated=False).fit(X, y)
    np.testing.assert_array_equal(parts.classes_, whole.classes_)
    np.testing.assert_array_equal(parts.decision_function(X_new), whole.decision_function(X_new))


def test_partial_fit_after_fit_and_classes_to_come() -> None:
    X = np.eye(3)
    classifier = FewShotClassifier().fit(X[:2], ["crow", "owl"]).partial_fit(X[2:], ["barn owl"])
    assert classifier.predict(X).tolist() == ["crow", "owl", "barn owl"]
    assert classifier.fit(X[:2], [0, 1]).classes_.tolist() == [0, 1]  # fit forgets
    early = FewShotClassifier().partial_fit(X[:2], [1, 2], classes=[1, 2, 3])
    assert early.predict_proba(X[:1])[0, 2] == 0
    assert early.partial_fit(X[2:], [3]).predict(X).tolist() == [1, 2, 3]


# ---------------------------------------------------------------------- reject, calibrate, explain


def test_reject_answers_none_of_these(digits: tuple[np.ndarray, ...]) -> None:
    X, y, X_new, y_new = digits
    always = FewShotClassifier().fit(X, y)
    sure = always.predict_proba(X_new).max(1)
    threshold = float(np.median(sure))
    answers = FewShotClassifier(reject=threshold).fit(X, y).predict(X_new)
    np.testing.assert_array_equal(answers, np.where(sure >= threshold, always.predict(X_new), -1))
    answered = answers != -1
    assert (answers[answered] == y_new[answered]).mean() > always.score(X_new, y_new)
    named = FewShotClassifier(reject=1.0).fit(X, np.array(list("abcdefghij"))[y])
    assert set(named.predict(X_new)) <= {*"abcdefghij", "unknown"}
    assert "unknown" in named.predict(X_new)
    assert "none" in named.set_params(reject_label="none").predict(X_new)
    with pytest.raises(ValueError, match="reject label 'a' is also a class"):
        named.set_params(reject_label="a").predict(X_new)
    with pytest.raises(ValueError, match="reject label -1 is also a class"):
        FewShotClassifier(reject=0.5).fit([[0.0], [1.0]], [-1, 1])
    with pytest.raises(ValueError, match="reject_label=-2, but the classes are"):
        FewShotClassifier(reject=0.5, reject_label=-2).fit([[0.0], [1.0]], ["a", "b"])


def test_calibration_makes_probabilities_true(digits: tuple[np.ndarray, ...]) -> None:
    X, y, X_new, y_new = digits
    classifier = FewShotClassifier(learner="prototypes(scale=50.0)", calibrated=False).fit(X, y)
    predictions = classifier.predict(X_new)

    def gap() -> float:  # between stated and true accuracy
        return abs(classifier.predict_proba(X_new).max(1).mean() - (predictions == y_new).mean())

    def surprise() -> float:
        return -np.log(classifier.predict_proba(X_new)[np.arange(400), y_new].clip(1e-300)).mean()

    gap_before, surprise_before = gap(), surprise()
    classifier.calibrate()
    assert gap() < 0.5 * gap_before
    assert surprise() < 0.5 * surprise_before
    left_out = surprise()
    classifier.calibrate(X_new, y_new)
    assert surprise() <= left_out
    np.testing.assert_array_equal(classifier.predict(X_new), predictions)
    assert classifier.fit(X, y).temperature_ == 1.0
    fitted = FewShotClassifier(learner="prototypes(scale=50.0)").fit(X, y)
    assert fitted.temperature_ == fitted.calibrate().temperature_ > 1.0


def test_temperature_minimises_the_loss(generator: torch.Generator) -> None:
    true = 2.5 * torch.randn(4000, 5, generator=generator, dtype=torch.float64)
    labels = torch.multinomial(true.softmax(1), 1, generator=generator).squeeze(1)
    assert fit_temperature(8 * true, labels) == pytest.approx(8, rel=0.1)  # the generating temperature
    assert fit_temperature(80 * true, labels) == pytest.approx(10 * fit_temperature(8 * true, labels), rel=1e-4)
    assert fit_temperature(torch.zeros(3, 2), torch.tensor([0, 1, 1])) == 1.0
    separated = torch.tensor([[5.0, 0.0, -torch.inf], [0.0, 5.0, -torch.inf]])
    assert 0 < fit_temperature(separated, torch.tensor([0, 1])) < torch.inf


def test_explanation(digits: tuple[np.ndarray, ...]) -> None:
    X, y, X_new, _ = digits
    classifier = FewShotClassifier(reject=0.5).fit(X, y)
    chance, answers = classifier.predict_proba(X_new), classifier.predict(X_new)
    cosine = (X_new / np.linalg.norm(X_new, axis=1, keepdims=True)) @ (X / np.linalg.norm(X, axis=1, keepdims=True)).T
    for i, answer in enumerate(classifier.explain(X_new, neighbours=4)):
        first, second = np.sort(chance[i])[::-1][:2]
        assert (answer.probability, answer.margin) == (pytest.approx(first), pytest.approx(first - second))
        assert answer.label == classifier.classes_[chance[i].argmax()]
        assert (answers[i] == -1) == answer.rejected
        assert [near.similarity for near in answer.nearest] == pytest.approx(np.sort(cosine[i])[::-1][:4])
        assert [near.label for near in answer.nearest] == [y[near.index] for near in answer.nearest]
    assert len(classifier.explain(X_new[:1], neighbours=1000)[0].nearest) == 50


# ---------------------------------------------------------------------- save and load


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("labels", [list("abcdefghij"), list(range(10)), [f"ünï {i}" for i in range(10)]])
def test_saved_classifier_answers_the_same(
    labels: list[Any], dtype: type, digits: tuple[np.ndarray, ...], tmp_path: Path
) -> None:
    X, y, X_new, _ = digits
    X, X_new = X.astype(dtype), X_new.astype(dtype)
    saved = FewShotClassifier(learner="prototypes(scale=2.0)", reject=0.3).fit(X, np.array(labels)[y]).calibrate()
    loaded = FewShotClassifier.load(saved.save(tmp_path / "model"))
    assert {file.name for file in (tmp_path / "model").iterdir()} == {"config.json", "model.safetensors"}
    assert loaded.get_params() == saved.get_params()
    assert loaded.classes_.dtype == saved.classes_.dtype
    assert loaded.n_features_in_ == 64
    np.testing.assert_array_equal(loaded.predict_proba(X_new), saved.predict_proba(X_new))
    np.testing.assert_array_equal(loaded.predict(X_new), saved.predict(X_new))
    more = X_new[:5], np.array(labels)[:5]
    np.testing.assert_array_equal(
        loaded.partial_fit(*more).predict_proba(X_new), saved.partial_fit(*more).predict_proba(X_new)
    )
    assert FewShotClassifier.load(tmp_path / "model", reject=None).reject is None


@pytest.mark.parametrize("name", feature_learners())
def test_every_learner_can_be_saved(name: str, digits: tuple[np.ndarray, ...], tmp_path: Path) -> None:
    X, y, X_new, _ = digits
    saved = FewShotClassifier(learner=load_learner(name), calibrated=False).fit(X, y)
    loaded = FewShotClassifier.load(saved.save(tmp_path))
    np.testing.assert_array_equal(loaded.decision_function(X_new), saved.decision_function(X_new))


def test_learned_weights_are_saved(
    digits: tuple[np.ndarray, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    X, y, X_new, _ = digits
    learner = Weighted()
    with torch.no_grad():
        learner.weight.uniform_(0, 1, generator=torch.Generator().manual_seed(0))
    saved = FewShotClassifier(learner=learner).fit(X, y)
    with pytest.raises(ValueError, match=r"entry-point group 'fewshot\.learners'"):
        saved.save(tmp_path)
    monkeypatch.setattr("fewshot.learners.LEARNERS.get", lambda name: {"weighted": Weighted}[name])
    loaded = FewShotClassifier.load(saved.save(tmp_path))
    np.testing.assert_array_equal(loaded.decision_function(X_new), saved.decision_function(X_new))


def test_column_names_survive(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"height": [0.0, 1.0], "width": [1.0, 0.0]})
    loaded = FewShotClassifier.load(FewShotClassifier().fit(frame, ["tall", "wide"]).save(tmp_path))
    assert loaded.feature_names_in_.tolist() == ["height", "width"]
    with pytest.raises(ValueError, match="feature names"):
        loaded.predict(frame.rename(columns={"width": "depth"}))


def test_damaged_folders_are_refused(tmp_path: Path) -> None:
    folder = FewShotClassifier().fit(np.eye(2), ["a", "b"]).save(tmp_path / "model")
    with pytest.raises(ValueError, match=r"config\.json is missing"):
        FewShotClassifier.load(tmp_path)
    config, model = (folder / "config.json").read_text(), (folder / "model.safetensors").read_bytes()
    for change, message in {
        config[:40]: "not JSON",
        "[]": "not that of a FewShotClassifier",
        config.replace('"format": 2', '"format": 3'): "format 3.*Upgrade",
        config.replace("<U1", "<M8[s]"): "labels never are",
    }.items():
        (folder / "config.json").write_text(change)
        with pytest.raises(ValueError, match=message):
            FewShotClassifier.load(folder)
    (folder / "config.json").write_text(config)
    (folder / "model.safetensors").write_bytes(model[:-1] + bytes([model[-1] ^ 1]))
    with pytest.raises(ValueError, match="damaged or from another save"):
        FewShotClassifier.load(folder)


def test_files_of_earlier_versions_open(tmp_path: Path) -> None:
    """Before probabilities were calibrated in `fit`, a file said nothing of it, and its temperature was 1."""
    fitted = FewShotClassifier(calibrated=False).fit(np.eye(2), ["a", "b"])
    config = json.loads((fitted.save(tmp_path) / "config.json").read_text())
    del config["calibrated"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    np.testing.assert_array_equal(
        FewShotClassifier.load(tmp_path).predict_proba(np.eye(2)), fitted.predict_proba(np.eye(2))
    )


def test_saving_over_a_folder_replaces_it(tmp_path: Path) -> None:
    FewShotClassifier().fit(np.eye(2), ["a", "b"]).save(tmp_path)
    FewShotClassifier(reject=np.float32(0), reject_label="none").fit(np.eye(3), ["x", "y", "z"]).save(tmp_path)
    assert FewShotClassifier.load(tmp_path).classes_.tolist() == ["x", "y", "z"]
    assert json.loads((tmp_path / "config.json").read_text())["learner"] == "l2 | logistic"


# ---------------------------------------------------------------------- images through an encoder


def photographs(root: Path, part: str, per_class: int) -> tuple[list[Path], list[str]]:
    """The first photographs of each garment."""
    folders = sorted(folder for folder in (root / "clothing_small_224" / part).iterdir() if folder.is_dir())
    chosen = [sorted(folder.glob("*.jpg"))[:per_class] for folder in folders]
    return list(itertools.chain(*chosen)), [path.parent.name for paths in chosen for path in paths]


@pytest.fixture
def mobilenet(shared_data: Path) -> str:
    """A spec string for real ImageNet weights."""
    weights = shared_data / "backbones" / "timm_mobilenetv2_100_same_imagenet_tf2.safetensors"
    return f"timm:mobilenetv2_100@{weights}(pad_type='same', num_classes=1001, mean=0.5, std=0.5)"


@pytest.fixture
def colours() -> tuple[list[np.ndarray], list[str]]:
    """Eight small images, red ones and blue ones."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 60, size=(8, 12, 12, 3), dtype=np.uint8)
    images[:4, ..., 0] += 180
    images[4:, ..., 2] += 180
    return list(images), ["red"] * 4 + ["blue"] * 4


def needs_embed() -> None:
    embedding = pytest.importorskip("fewshot.embedding")
    if not hasattr(embedding, "embed"):
        pytest.skip("needs fewshot.embedding.embed")


def test_images_as_arrays_pillow_and_files(colours: tuple[list[np.ndarray], list[str]], tmp_path: Path) -> None:
    needs_embed()
    from PIL import Image

    arrays, y = colours
    pictures = [Image.fromarray(array) for array in arrays]
    files = [tmp_path / f"{i}.png" for i in range(8)]
    for picture, file in zip(pictures, files, strict=True):
        picture.save(file)
    answers = []
    for X in (arrays, np.stack(arrays), pictures, files, [str(file) for file in files]):
        classifier = FewShotClassifier(encoder="pixels(size=8)", learner="prototypes(scale=0.1)")
        classifier.fit([X[0], X[5]], ["red", "blue"])
        assert classifier.predict(X).tolist() == y
        answers.append(classifier.predict_proba(X))
    for other in answers[1:]:
        np.testing.assert_allclose(other, answers[0], atol=1e-3)
    assert classifier.explain(X)[0].nearest[0].item == str(files[0])


def test_encoder_bad_input(colours: tuple[list[np.ndarray], list[str]], tmp_path: Path) -> None:
    needs_embed()
    arrays, y = colours
    with pytest.raises(ValueError, match="give a sequence of items"):
        FewShotClassifier("pixels").fit("photo.jpg", ["red"])
    with pytest.raises(ValueError, match="X is empty"):
        FewShotClassifier("pixels").fit([], [])
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        FewShotClassifier("pixels").fit(arrays, y[:3])
    with pytest.raises(ValueError, match="did you mean 'pixels'"):
        FewShotClassifier("pixel").fit(arrays, y)
    (tmp_path / "broken.jpg").write_bytes(b"not an image")
    with pytest.raises((ValueError, OSError), match=r"broken\.jpg"):
        FewShotClassifier("pixels").fit([tmp_path / "broken.jpg"] * 2, ["red", "blue"])


def test_clones_share_the_encoder(colours: tuple[list[np.ndarray], list[str]]) -> None:
    needs_embed()
    from fewshot import encoders

    arrays, y = colours
    encoder = encoders.load_encoder("pixels(size=8)")
    classifier = FewShotClassifier(encoder)
    assert clone(classifier).encoder is encoder
    assert cross_val_score(classifier, arrays, y, cv=2).mean() == 1


def test_classifier_with_encoder_is_saved(colours: tuple[list[np.ndarray], list[str]], tmp_path: Path) -> None:
    needs_embed()
    from fewshot.encoders import load_encoder

    arrays, y = colours
    by_name = FewShotClassifier("pixels(size=8)").fit(arrays, y)
    loaded = FewShotClassifier.load(by_name.save(tmp_path / "named"))
    np.testing.assert_array_equal(loaded.predict_proba(arrays), by_name.predict_proba(arrays))
    by_object = FewShotClassifier(load_encoder("pixels(size=8)")).fit(arrays, y)
    folder = by_object.save(tmp_path / "object")
    with pytest.raises(ValueError, match=r"make it again and pass it"):
        FewShotClassifier.load(folder)
    FewShotClassifier.load(folder, encoder=load_encoder("pixels(size=8)"))
    with pytest.raises(ValueError, match="is not the one"):
        FewShotClassifier.load(folder, encoder=load_encoder("pixels(size=9)"))


def test_own_photographs(shared_data: Path, mobilenet: str) -> None:
    """Three labelled photographs of each of ten garments tell most of the others."""
    needs_embed()
    paths, labels = photographs(shared_data, "validation", 3)
    new_paths, new_labels = photographs(shared_data, "test", 3)
    classifier = FewShotClassifier(encoder=mobilenet, learner="prototypes(distance='cosine', scale=10.0)").fit(
        paths, labels
    )
    assert classifier.score(new_paths, new_labels) > 0.5  # chance is 0.1
    top = classifier.explain(new_paths[:1])[0]
    assert Path(top.nearest[0].item or "").parent.name == top.nearest[0].label
