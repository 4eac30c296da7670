"""Sets hold the true class as often as they say, errors stay as rare as asked, and few examples promise nothing."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from episodes.outliers import log_odds_against_best
from fewshot import FewShotClassifier, ZeroShotClassifier
from fewshot.classifier.conformal import Folds, cross_sets, split_sets, strangeness, threshold_for


def blobs(ways: int, shots: int, seed: int, asked: int = 40, spread: float = 2.0) -> tuple[np.ndarray, ...]:
    draw = np.random.default_rng(seed)
    centres = draw.normal(size=(ways, 8))
    y, y_new = np.repeat(np.arange(ways), shots), np.repeat(np.arange(ways), asked)
    return tuple(
        part
        for labels in (y, y_new)
        for part in ((centres[labels] + spread * draw.normal(size=(len(labels), 8))).astype(np.float32), labels)
    )


def test_strangeness_is_minus_the_log_odds_also_where_probabilities_round() -> None:
    logits = torch.tensor([[1.0, 2.0, 0.5], [400.0, 0.0, 100.0]], dtype=torch.float64)
    p = logits[0].softmax(-1)
    torch.testing.assert_close(strangeness(logits)[0], ((1 - p) / p).log())
    torch.testing.assert_close(strangeness(logits)[1], torch.tensor([-300.0, 400.0, 300.0], dtype=torch.float64))
    torch.testing.assert_close(strangeness(logits).amin(-1), log_odds_against_best(logits))


def test_a_class_that_cannot_be_is_the_strangest() -> None:
    found = strangeness(torch.tensor([[0.0, -torch.inf, 1.0]]))
    assert found[0, 1] == torch.inf and found[0, [0, 2]].isfinite().all()


def test_split_sets_are_those_of_a_slow_count() -> None:
    draw = torch.Generator().manual_seed(0)
    scores, asked = torch.randn(37, generator=draw), torch.randn(20, 5, generator=draw)
    found = split_sets(scores, asked, 0.8)
    for row, kept in zip(asked.tolist(), found.tolist(), strict=True):
        # The p-value of a class: how many of all rows, itself among them, are at least as strange.
        expected = [(1 + sum(s >= one for s in scores.tolist())) / 38 > 0.2 - 1e-9 for one in row]
        assert kept == expected


def test_cross_sets_are_those_of_a_slow_count() -> None:
    draw = torch.Generator().manual_seed(1)
    scores, fold = torch.randn(30, generator=draw), torch.arange(30) % 3
    asked = torch.randn(3, 10, 4, generator=draw)
    found = cross_sets(scores, fold, asked, 0.7)
    for row in range(10):
        for way in range(4):
            stranger = sum(float(scores[i]) < float(asked[fold[i], row, way]) for i in range(30))
            assert bool(found[row, way]) == (stranger < 0.7 * 31)


def test_split_sets_are_those_of_mapie() -> None:
    classification = pytest.importorskip("mapie.classification", reason="MAPIE is not installed")
    X, y, X_new, y_new = blobs(4, 30, 0)
    classifier = FewShotClassifier(learner="logistic(C=1.0)").fit(X, y)
    held, labels, asked = X_new[::2], y_new[::2], X_new[1::2]
    classifier.calibrate(held, labels)
    classifier.temperature_ = 1.0  # MAPIE takes probabilities as they are
    theirs = classification.SplitConformalClassifier(LogisticRegression(tol=1e-8, max_iter=1000).fit(X, y), 0.9)
    expected = theirs.conformalize(held, labels).predict_set(asked)[1][..., 0]
    found = classifier.predict_set(asked, 0.9)
    differ = found[expected.any(1)] != expected[expected.any(1)]  # an empty set of theirs is one of the best class here
    assert differ.mean() < 0.002  # one rounding at a threshold


@pytest.mark.parametrize("learner", ["prototypes", "lda", "l2 | logistic", "soft-kmeans"])
def test_sets_hold_the_true_class_as_often_as_asked(learner: str) -> None:
    held = []
    for seed in range(8):
        X, y, X_new, y_new = blobs(5, 5, seed)
        found = FewShotClassifier(learner=learner).fit(X, y).predict_set(X_new, 0.8)
        held.append(found[np.arange(len(y_new)), y_new].mean())
    assert np.mean(held) > 0.8 - 2 * np.std(held) / math.sqrt(len(held))


def test_given_rows_decide_the_sets_and_travel_with_the_classifier(tmp_path: Path) -> None:
    X, y, X_new, y_new = blobs(3, 5, 0)
    classifier = FewShotClassifier(learner="prototypes").fit(X, y).calibrate(X_new[::2], y_new[::2])
    found = classifier.predict_set(X_new[1::2], 0.9)
    assert abs(found[np.arange(60), y_new[1::2]].mean() - 0.9) < 0.1
    again = FewShotClassifier.load(classifier.save(tmp_path / "model"))
    np.testing.assert_array_equal(again.predict_set(X_new[1::2], 0.9), found)
    assert again.reject_for_error(0.6) == classifier.reject_for_error(0.6)


def test_held_out_examples_give_the_same_sets_after_loading(tmp_path: Path) -> None:
    X, y, X_new, _ = blobs(3, 6, 1)
    classifier = FewShotClassifier(learner="ridge").fit(X, y)
    again = FewShotClassifier.load(classifier.save(tmp_path / "model"))
    np.testing.assert_array_equal(again.predict_set(X_new), classifier.predict_set(X_new))


def test_copies_are_the_learner_fitted_without_a_fold() -> None:
    X, y, X_new, _ = blobs(3, 4, 2)
    folds = Folds(FewShotClassifier(learner="prototypes").fit(X, y)._adapted)
    logits = folds.logits(torch.from_numpy(X_new))
    for number, rows in enumerate(folds.folds):
        left = np.setdiff1d(np.arange(len(y)), rows.numpy())
        alone = FewShotClassifier(learner="prototypes", calibrated=False).fit(X[left], y[left])
        np.testing.assert_allclose(logits[number].numpy(), alone.decision_function(X_new), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shots", [1, 2])
def test_too_few_examples_promise_nothing(shots: int) -> None:
    X, y, X_new, _ = blobs(4, shots, 0)
    assert FewShotClassifier(learner="prototypes").fit(X, y).predict_set(X_new, 0.95).all()


@pytest.mark.parametrize("coverage", [0.0, 1.0, -1.0, float("nan")])
def test_coverage_out_of_range_is_refused(coverage: float) -> None:
    X, y, *_ = blobs(2, 3, 0)
    with pytest.raises(ValueError, match="must lie between 0 and 1"):
        FewShotClassifier(learner="prototypes").fit(X, y).predict_set(X, coverage)


def test_the_threshold_is_the_lowest_that_a_slow_search_finds() -> None:
    draw = torch.Generator().manual_seed(3)
    chance = (torch.rand(200, generator=draw) * 20).round() / 20  # with ties
    right = torch.rand(200, generator=draw) < chance
    for error in (0.1, 0.3):
        fine = [t for t in chance.unique().tolist()
                if ((chance >= t) & ~right).sum() + 1 <= error * (chance >= t).sum()]  # fmt: skip
        assert threshold_for(chance, right, error) == (min(fine) if fine else None)
    assert threshold_for(torch.zeros(0), torch.zeros(0, dtype=torch.bool), 0.1) is None


def test_errors_stay_as_rare_as_asked() -> None:
    wrong = answered = 0
    for seed in range(8):
        X, y, X_new, y_new = blobs(5, 20, seed, spread=1.5)
        classifier = FewShotClassifier(learner="lda").fit(X, y)
        classifier.set_params(reject=classifier.reject_for_error(0.3))
        found = classifier.predict(X_new)
        answered += (found != -1).sum()
        wrong += ((found != -1) & (found != y_new)).sum()
    assert answered > 400 and wrong / answered < 0.3


def test_few_rows_cannot_keep_errors_rare() -> None:
    X, y, *_ = blobs(3, 4, 0, spread=0.1)
    with pytest.raises(ValueError, match=r"12 held-out rows, 0 of them wrong, .* it takes 100 that are right"):
        FewShotClassifier(learner="prototypes").fit(X, y).reject_for_error(0.01)


def test_strangers_score_higher() -> None:
    X, y, X_new, _ = blobs(3, 5, 0, spread=0.3)
    classifier = FewShotClassifier(learner="prototypes").fit(X, y)
    strange = np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32) * 5
    assert classifier.outlier_score(X_new).max() < np.median(classifier.outlier_score(strange))


def test_zero_shot_needs_labelled_rows_for_sets() -> None:
    classifier = ZeroShotClassifier("fewshot:tiny-clip", cache=False).fit(None, ["red circle", "blue square"])
    rows = np.random.default_rng(0).normal(size=(60, classifier.text_.shape[1])).astype(np.float32)
    with pytest.raises(ValueError, match="needs labelled rows"):
        classifier.predict_set(rows)
    classifier.calibrate(rows, classifier.predict(rows))
    assert classifier.predict_set(rows, 0.9).any(1).all()
