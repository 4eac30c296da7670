"""Probabilities say how often predictions are right, whatever the learner."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from torch import Tensor

from fewshot import FewShotClassifier, list_learners, load_learner
from fewshot.classifier.adapted import Adapted, task
from fewshot.classifier.folds import held_out_folds
from fewshot.classifier.modelled import modelled_rows
from fewshot.maths.temperature import fit_temperature

CPU = torch.device("cpu")


def learners(*, transductive: bool) -> list[str]:
    """Names of those that need nothing but labelled features of any width."""
    made = {name: load_learner(name) for name in list_learners()}
    cheap = {"distribution-calibration": "distribution-calibration(samples=50)"}
    return [
        cheap.get(name, name)
        for name, learner in made.items()
        if learner.inputs == "features" and learner.needs[0] == "support" and "text" not in learner.needs
        and learner.transductive == transductive and not hasattr(learner, "item_shape")
    ]  # fmt: skip


def blobs(ways: int, shots: int, seed: int, spread: float = 2.5, width: int = 64) -> tuple[np.ndarray, ...]:
    """Gaussian classes that a nearest mean of five examples gets right nine times in ten."""
    draw = np.random.default_rng(seed)
    centres = draw.normal(size=(ways, width))
    y, y_new = np.repeat(np.arange(ways), shots), np.repeat(np.arange(ways), 60)
    return tuple(
        part
        for labels in (y, y_new)
        for part in ((centres[labels] + spread * draw.normal(size=(len(labels), width))).astype(np.float32), labels)
    )


def calibration_error(chance: np.ndarray, y: np.ndarray) -> float:
    """Mean gap between stated and true accuracy over ten bins, in points."""
    stated, right = chance.max(1), chance.argmax(1) == y
    place = np.minimum((stated * 10).astype(int), 9)
    return 100 * sum(abs((stated - right)[place == number].sum()) for number in range(10)) / len(y)


# Folds


def test_a_fold_takes_one_example_of_every_class() -> None:
    labels = torch.arange(5).repeat_interleave(4)
    folds = held_out_folds(labels)
    assert [sorted(labels[rows].tolist()) for rows in folds] == [[0, 1, 2, 3, 4]] * 4
    assert torch.cat(folds).sort().values.tolist() == list(range(20))


def test_folds_are_few_whatever_the_number_of_examples() -> None:
    many = held_out_folds(torch.arange(150).repeat(5))
    assert len(many) == 2 and all(len(rows) == 150 for rows in many)
    assert len(held_out_folds(torch.arange(3).repeat(500))) <= 2
    assert len(held_out_folds(torch.arange(2).repeat(40))) == 10


def test_a_class_never_loses_all_its_examples() -> None:
    labels = torch.tensor([0, 0, 1, 2, 2, 2, 2, 2, 2, 2])
    for rows in held_out_folds(labels):
        left = labels.clone()
        left[rows] = -1
        assert set(left.tolist()) - {-1} == {0, 1, 2} and 1 not in labels[rows]
    assert held_out_folds(torch.arange(6)) == []


def test_held_out_logits_are_those_of_fitting_the_others() -> None:
    X, y, *_ = blobs(4, 3, seed=0)
    adapted = Adapted(load_learner("ridge"), task(X, y, 4, CPU))
    logits, labels, *_ = adapted.held_out()
    start = 0
    for rows in held_out_folds(torch.from_numpy(y)):
        kept = np.setdiff1d(np.arange(len(y)), rows)
        again = FewShotClassifier(learner="ridge", calibrated=False).fit(X[kept], y[kept]).decision_function(X[rows])
        np.testing.assert_allclose(logits[start : start + len(rows)], again, atol=1e-5)
        assert labels[start : start + len(rows)].tolist() == y[rows].tolist()
        start += len(rows)
    assert start == len(labels) == 12


# Every learner


@pytest.mark.parametrize("name", learners(transductive=False))
def test_held_out_accuracy_is_that_of_new_rows(name: str) -> None:
    """Five ways and six shots, so that a fold learns from five; within three standard errors of both samples."""
    held_out, fresh = [], []
    for seed in range(6):
        X, y, X_new, y_new = blobs(5, 6, seed)
        logits, labels, *_ = Adapted(load_learner(name), task(X, y, 5, CPU)).held_out()
        held_out.append((logits.argmax(1) == labels).float())
        five = np.tile(np.arange(6) < 5, 5)
        adapted = Adapted(load_learner(name), task(X[five], y[five], 5, CPU))
        fresh.append((torch.cat(list(adapted.logits(X_new))).argmax(1) == torch.from_numpy(y_new)).float())
    estimate, truth = torch.cat(held_out), torch.stack(fresh).mean(1)
    error = (estimate.var() / len(estimate) + truth.var() / len(truth)).sqrt()
    assert abs(estimate.mean() - truth.mean()) < 3 * error + 0.01, (estimate.mean(), truth.mean())


@pytest.mark.parametrize("name", learners(transductive=False))
def test_fitted_probabilities_are_true(name: str) -> None:
    errors = []
    for shots, ways in ((5, 5), (3, 12)):
        chance, truth = [], []
        for seed in range(3):
            X, y, X_new, y_new = blobs(ways, shots, seed, spread=1.9)
            chance.append(FewShotClassifier(learner=name).fit(X, y).predict_proba(X_new))
            truth.append(y_new)
        errors.append(calibration_error(np.concatenate(chance), np.concatenate(truth)))
    assert max(errors) < 12, errors  # of which some three are the noise of so few rows


@pytest.mark.parametrize("name", ["bd-cspn", "l2 | soft-kmeans", "pt-map", "label-propagation"])
def test_a_transductive_learner_is_calibrated_as_it_will_be_asked(name: str) -> None:
    """Many rows at once; with held-out examples alone, pt-map had an error of 23 here, and soft-kmeans one of 17."""
    chance, truth = [], []
    for seed in range(3):
        X, y, X_new, y_new = blobs(5, 5, seed, spread=1.9)
        chance.append(FewShotClassifier(learner=name).fit(X, y).predict_proba(X_new[::4]))
        truth.append(y_new[::4])
    assert calibration_error(np.concatenate(chance), np.concatenate(truth)) < 12


def test_modelled_rows_scatter_as_the_examples_do() -> None:
    X, y, *_ = blobs(40, 5, seed=0, width=8)
    rows, labels = modelled_rows(torch.from_numpy(X), torch.from_numpy(y))
    assert labels.bincount().tolist() == [15] * 40
    means = np.stack([X[y == n].mean(0) for n in range(40)])
    within = (X - means[y]).T @ (X - means[y]) / (len(X) - 40) * (1 + 1 / 5)
    around = rows.numpy() - means[labels]
    np.testing.assert_allclose(np.cov(around.T), within, atol=0.2 * within.diagonal().mean())
    again, _ = modelled_rows(torch.from_numpy(X), torch.from_numpy(y))
    assert torch.equal(rows, again)


def test_modelled_rows_of_one_example_each_scatter_as_all_examples_do() -> None:
    X, y, *_ = blobs(300, 1, seed=0, width=4)
    rows, labels = modelled_rows(torch.from_numpy(X), torch.from_numpy(y))
    assert labels.bincount().tolist() == [2] * 300
    around = rows.numpy() - X[labels]
    np.testing.assert_allclose(np.cov(around.T), 0.36 * np.cov(X.T), atol=0.2 * 0.36 * X.var())


@pytest.mark.parametrize("name", ["bd-cspn"])
def test_calibration_of_a_transductive_learner_gains(name: str) -> None:
    X, y, X_new, y_new = blobs(5, 4, seed=0, spread=1.9)
    errors = {}
    for calibrated in (False, True):
        classifier = FewShotClassifier(learner=name, calibrated=calibrated).fit(X, y)
        errors[calibrated] = calibration_error(classifier.predict_proba(X_new[::4]), y_new[::4])
    assert errors[True] < 0.7 * errors[False], errors


@pytest.mark.parametrize("name", ["prototypes", "ridge", "logistic", "l2 | logistic(C=10.0)", "fine-tune"])
def test_one_shot_probabilities_are_near(name: str) -> None:
    errors = []
    for calibrated in (True, False):
        chance, truth = [], []
        for seed in range(6):
            X, y, X_new, y_new = blobs(5, 1, seed, spread=0.8)
            classifier = FewShotClassifier(learner=name, calibrated=calibrated).fit(X, y)
            chance.append(classifier.predict_proba(X_new))
            truth.append(y_new)
        errors.append(calibration_error(np.concatenate(chance), np.concatenate(truth)))
    assert errors[0] < 20, errors


def test_few_examples_and_single_classes_are_no_error() -> None:
    X, y, X_new, _ = blobs(5, 1, seed=0)
    for labels in (y, [0] * 5, [0, 0, 1, 2, 3], [0, 0, 0, 0, 1]):
        chance = FewShotClassifier().fit(X, labels).predict_proba(X_new)
        assert np.isfinite(chance).all()
    same = FewShotClassifier().fit(np.ones((4, 3)), [0, 1, 2, 3])
    np.testing.assert_allclose(same.predict_proba(np.ones((1, 3))), 0.25)


def test_calibrating_many_classes_costs_a_few_fits() -> None:
    X, y, *_ = blobs(150, 5, seed=0)
    seconds = {}
    for calibrated in (False, True):
        started = time.process_time()
        classifier = FewShotClassifier(learner="ridge", calibrated=calibrated).fit(X, y)
        seconds[calibrated] = time.process_time() - started
    assert len(held_out_folds(classifier._adapted.episode.labels[0])) == 2 and seconds[True] < 20


# Rejection


def test_reject_means_what_it_says() -> None:
    """Of the rows that are answered with at least .7, at least some .7 are right; few are refused for nothing."""
    X, y, X_new, y_new = blobs(5, 5, seed=3)
    X, X_new = X / 30, X_new / 30  # uncalibrated, prototypes of such rows are never sure
    answers = FewShotClassifier(reject=0.7).fit(X, y).predict(X_new)
    answered = answers >= 0
    assert answered.mean() > 0.2 and (answers[answered] == y_new[answered]).mean() > 0.7
    with pytest.warns(UserWarning, match=r"reject=0\.7 with calibrated=False"):
        nothing = FewShotClassifier(reject=0.7, calibrated=False).fit(X, y)
    assert (nothing.predict(X_new) == -1).all()


# Weights


def weighted(name: str, seed: int = 0) -> tuple[np.ndarray, ...]:
    X, y, X_new, _ = blobs(3, 4, seed)
    return X.astype(np.float64), y, np.random.default_rng(1).integers(0, 4, len(y)), X_new.astype(np.float64)


@pytest.mark.parametrize(
    "name", [n for n in list_learners() if load_learner(n).weighted] + ["cl2n | ridge", "logistic(C=5.0)"]
)
def test_an_example_of_weight_two_is_two(name: str) -> None:
    X, y, weights, X_new = weighted(name)
    options = {"learner": name, "calibrated": False}
    by_weight = FewShotClassifier(**options).fit(X, y, sample_weight=weights)  # type: ignore[arg-type]
    repeated = FewShotClassifier(**options).fit(X.repeat(weights, 0), y.repeat(weights))  # type: ignore[arg-type]
    np.testing.assert_allclose(by_weight.decision_function(X_new), repeated.decision_function(X_new), atol=1e-5)
    plain = FewShotClassifier(**options).fit(X, y).decision_function(X_new)  # type: ignore[arg-type]
    assert np.abs(by_weight.decision_function(X_new) - plain).max() > 1e-2


def test_weights_are_scikit_learns() -> None:
    X, y, weights, X_new = weighted("ridge")
    real = weights + 0.25
    ours = FewShotClassifier(learner="ridge(alpha=2.0)").fit(X, y, sample_weight=real).decision_function(X_new)
    theirs = Ridge(alpha=2.0).fit(X, np.eye(3)[y], sample_weight=real).predict(X_new)
    np.testing.assert_allclose(ours, theirs, atol=1e-6)
    ours = FewShotClassifier(learner="logistic(C=1.0)").fit(X, y, sample_weight=real).decision_function(X_new)
    theirs = LogisticRegression(tol=1e-10, max_iter=10_000).fit(X, y, sample_weight=real).decision_function(X_new)
    np.testing.assert_allclose(ours - ours.mean(1, keepdims=True), theirs - theirs.mean(1, keepdims=True), atol=1e-4)


def test_weights_that_make_no_sense_are_refused(tmp_path: object) -> None:
    X, y, weights, X_new = weighted("ridge")
    for message, learner, given in (
        ("cannot weigh its examples.*prototypes", "nearest", weights),
        ("Negative values", "ridge", weights - 2),
        ("zero", "ridge", 0 * weights),
    ):
        with pytest.raises(ValueError, match=message):
            FewShotClassifier(learner=learner).fit(X, y, sample_weight=given)
    first = FewShotClassifier(calibrated=False).partial_fit(X[:6], y[:6], classes=[0, 1, 2], sample_weight=weights[:6])
    first.partial_fit(X[6:], y[6:])
    whole = FewShotClassifier(calibrated=False).fit(X, y, sample_weight=np.r_[weights[:6], np.ones(6)])
    np.testing.assert_allclose(first.decision_function(X_new), whole.decision_function(X_new))
    loaded = FewShotClassifier.load(whole.save(str(tmp_path)))
    np.testing.assert_array_equal(loaded.decision_function(X_new), whole.decision_function(X_new))


def test_temperature_of_one_example_each_is_between_two_guesses() -> None:
    """A learner whose logits grow tenfold gets ten times the temperature."""
    X, y, *_ = blobs(5, 1, seed=0)

    def temperature(scale: float) -> float:
        return FewShotClassifier(learner=f"prototypes(scale={scale})").fit(X, y).temperature_

    assert temperature(10.0) == pytest.approx(10 * temperature(1.0), rel=1e-3)


def test_softened_targets_keep_certainty_away() -> None:
    logits: Tensor = torch.tensor([[9.0, 0.0], [0.0, 9.0]])
    stated = (logits / fit_temperature(logits, torch.tensor([0, 1]))).softmax(1).amax()
    assert float(stated) == pytest.approx(0.75, abs=1e-3)


@pytest.mark.parametrize("learner", ["fine-tune", "ridge", "matching"])
def test_two_examples_of_many_classes_tell_learners_that_weigh_class_means(learner: str) -> None:
    """Without one of them nothing is left to weigh means by, and the fold is less sure than what answers."""
    X, y, X_new, y_new = blobs(40, 2, 0, 1.8)
    chance = FewShotClassifier(learner=learner).fit(X, y).predict_proba(X_new)
    assert calibration_error(chance, y_new) < 14
