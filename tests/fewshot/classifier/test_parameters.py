"""Hyper-parameters of the learner are parameters of the classifier."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from classifier_examples import Weighted
from sklearn.base import clone

from fewshot import load_learner
from fewshot.classifier import FewShotClassifier
from fewshot.learners.prototypes import Prototypes


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
