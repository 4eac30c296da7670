"""What is made of scores: none of these, probabilities, explanations."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fewshot.classifier import FewShotClassifier
from fewshot.maths.temperature import fit_temperature


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


def test_a_fit_that_fails_leaves_the_earlier_one(digits: tuple[np.ndarray, ...]) -> None:
    rows, answers, asked = digits[0], digits[1], digits[2]
    classifier = FewShotClassifier(learner="prototypes").fit(rows, answers)
    before = classifier.predict_proba(asked)
    classifier.set_params(learner="ridge")
    with pytest.raises(ValueError, match="inconsistent"):
        classifier.fit(rows, answers[:-1])
    assert np.array_equal(classifier.predict_proba(asked), before)
    with pytest.raises(ValueError, match="features"):
        classifier.partial_fit(rows[:, :5], answers)
    assert np.array_equal(classifier.predict_proba(asked), before)
    assert repr(classifier.learner_) == "prototypes"
