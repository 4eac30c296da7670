"""Examples that come bit by bit."""

from __future__ import annotations

import numpy as np
import pytest
from classifier_examples import feature_learners

from fewshot.classifier import FewShotClassifier


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
