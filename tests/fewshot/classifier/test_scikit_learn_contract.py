"""`FewShotClassifier` keeps scikit-learn's contract: its checks, pipelines, searches, what is not fitted yet."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from classifier_examples import feature_learners
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from fewshot import list_learners, load_learner
from fewshot.classifier import FewShotClassifier
from fewshot.learners.prototypes import Prototypes


def expected_failures(estimator: FewShotClassifier) -> dict[str, str]:
    """What a learner cannot pass by its nature."""
    # Later releases make this check only of estimators that say they take sparse rows.
    failures = {"check_sample_weight_equivalence_on_sparse_data": "it takes no sparse rows, and says so"}
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
