"""Unlabelled rows tell how far probabilities can be believed, where examples are too few to tell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fewshot import FewShotClassifier
from fewshot.classifier.calibration import unlabelled_temperature
from tests.fewshot.classifier.test_calibration import blobs, calibration_error

LEARNERS = ["prototypes", "l2 | logistic", "ridge", "nearest", "svm", "tim", "label-propagation"]


def error_of(learner: str, spread: float, shots: int, *, told: bool) -> float:
    """Calibration error over four tasks, with the half of the rows that is not asked as unlabelled ones."""
    stated, truth = [], []
    for seed in range(4):
        X, y, X_new, y_new = blobs(5, shots, seed, spread)
        asked = np.arange(len(X_new)) % 2 == 0
        made = FewShotClassifier(learner=learner).fit(X, y, unlabelled=X_new[~asked] if told else None)
        stated.append(made.predict_proba(X_new[asked]))
        truth.append(y_new[asked])
    return calibration_error(np.concatenate(stated), np.concatenate(truth))


@pytest.mark.parametrize("learner", LEARNERS)
@pytest.mark.parametrize("shots", [1, 2])
def test_probabilities_fit_whether_classes_scatter_little_or_much(learner: str, shots: int) -> None:
    for spread in (1.0, 3.5):
        assert error_of(learner, spread, shots, told=True) < 14


def test_without_them_one_guess_cannot_fit_both() -> None:
    assert max(error_of("prototypes", spread, 1, told=False) for spread in (1.0, 3.5)) > 15


def fitted(**options: Any) -> tuple[FewShotClassifier, np.ndarray]:
    X, y, X_new, _ = blobs(5, 1, 0, 1.0)
    return FewShotClassifier(learner="prototypes", **options).fit(X, y, unlabelled=X_new), X_new


def test_answers_stay_the_same_and_the_estimate_rests_on_no_assumption() -> None:
    told, X_new = fitted()
    X, y, *_ = blobs(5, 1, 0, 1.0)
    alone = FewShotClassifier(learner="prototypes").fit(X, y)
    assert (told.predict(X_new) == alone.predict(X_new)).all()
    assert told.temperature_ != alone.temperature_
    assert "assumption" in str(alone.estimate()) and "calibrate(unlabelled=rows)" in str(alone.estimate())
    assert "assumption" not in str(told.estimate())
    assert alone.calibrate(unlabelled=X_new).temperature_ == told.temperature_
    assert alone.fit(X, y).temperature_ != told.temperature_  # what was told before is forgotten


def test_further_examples_and_copies_remember_them(tmp_path: Path) -> None:
    told, _ = fitted()
    told.save(tmp_path / "model")
    read = FewShotClassifier.load(tmp_path / "model")
    assert read.temperature_ == told.temperature_
    X, *_ = blobs(5, 2, 0, 1.0)
    assert read.partial_fit(X[1:2], [9]).temperature_ == told.partial_fit(X[1:2], [9]).temperature_
    assert "assumption" not in str(read.estimate())


def test_an_example_of_weight_two_is_two() -> None:
    X, y, X_new, _ = blobs(5, 3, 0, 1.0)
    weights, made = np.tile([2, 1, 1], 5), FewShotClassifier(learner="prototypes")
    weighed = made.fit(X, y, sample_weight=weights)
    found = unlabelled_temperature(weighed._adapted, torch.from_numpy(X_new))
    twice = made.fit(X.repeat(weights, 0), y.repeat(weights))
    assert found == pytest.approx(unlabelled_temperature(twice._adapted, torch.from_numpy(X_new)), rel=1e-4)


def test_stored_rows_of_another_width_are_refused(tmp_path: Path) -> None:
    told, _ = fitted()
    told._unlabelled = told._unlabelled[:, :3]  # type: ignore[index]
    told.save(tmp_path / "model")
    with pytest.raises(ValueError, match="has other columns"):
        FewShotClassifier.load(tmp_path / "model")


def test_the_order_of_rows_does_not_matter() -> None:
    told, X_new = fitted()
    temperature = told.temperature_
    assert told.calibrate(unlabelled=X_new[::-1].copy()).temperature_ == pytest.approx(temperature, rel=1e-6)


def test_more_rows_than_are_looked_at() -> None:
    told, X_new = fitted()
    temperature = told.temperature_
    assert told.calibrate(unlabelled=np.tile(X_new, (9, 1))).temperature_ == pytest.approx(temperature, rel=0.2)


def test_a_class_without_examples_is_not_among_the_answers() -> None:
    X, y, X_new, _ = blobs(5, 1, 0, 1.0)
    made = FewShotClassifier(learner="prototypes").partial_fit(X, y, classes=[7]).calibrate(unlabelled=X_new)
    assert np.isfinite(made.temperature_) and (made.predict_proba(X_new)[:, -1] == 0).all()


def test_one_class_leaves_nothing_to_tell() -> None:
    X, _, X_new, _ = blobs(5, 1, 0, 1.0)
    made = FewShotClassifier(learner="prototypes").fit(X[:1], [0], unlabelled=X_new)
    assert (made.predict_proba(X_new) == 1).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda made, X, y: made.fit(X[:5], y[:5], unlabelled=X[:3]), "unlabelled holds 3 rows.*at least 10"),
        (lambda made, X, y: made.calibrate(X), "rows without labels are unlabelled="),
        (lambda made, X, y: made.calibrate(X, y, unlabelled=X), "not both"),
        (lambda made, X, y: made.calibrate(unlabelled=X[:, :5]), "5 features"),
        (
            lambda made, X, y: made.set_params(encoder="timm:none", strategy="full").calibrate(unlabelled=X),
            "tuned encoder",
        ),
        (lambda made, X, y: made.set_params(calibrated=False).fit(X, y, unlabelled=X), "calibrated=False"),
    ],
)
def test_what_is_refused(call: Any, message: str) -> None:
    made, X_new = fitted()
    temperature = made.temperature_
    with pytest.raises(ValueError, match=message):
        call(made, X_new, np.repeat(np.arange(5), 60))
    assert made.temperature_ == temperature
