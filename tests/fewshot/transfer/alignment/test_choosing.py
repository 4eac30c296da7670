"""An alignment chosen without labels of the target."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from alignment_examples import Secret, perceptron, rows

from episodes import TensorSource
from fewshot.adaptation import AdaptationWarning
from fewshot.transfer import choose_alignment


@pytest.mark.parametrize("score", ["importance", "information"])
def test_an_alignment_is_chosen_without_target_labels(score: str) -> None:
    source = TensorSource(*rows(60))
    options: dict[str, Any] = {"strategy": "full", "epochs": 3, "cache": False, "score": score, "head": "ridge"}
    found = []
    for target in (Secret(*rows(60, 2.0, 1)), rows(60, 2.0, 1)[0]):
        with warnings.catch_warnings(record=True):
            warnings.simplefilter("always", AdaptationWarning)
            found.append(choose_alignment(perceptron(), source, target, ["mmd", "deep-coral(1e6)"], **options))
    assert set(found[0].scores) == {"nothing", "mmd", "deep-coral(1e6)"}
    assert found[0].scores == pytest.approx(found[1].scores, abs=1e-4)  # rows are embedded in batches of any size
    assert all(0 <= value <= 1 for value in found[0].scores.values())
    assert found[0].adapter in found[0].scores and "against nothing" in str(found[0])


def test_a_ruinous_alignment_is_said_to_be_one() -> None:
    with pytest.warns(AdaptationWarning, match="mmd.* would do harm"):
        choice = choose_alignment(perceptron(), TensorSource(*rows(60)), rows(60, 0.0, 1)[0], ["mmd(1e5)"],
                                  strategy="full", epochs=20, lr=0.05, cache=False, head="zero",
                                  score="importance")  # fmt: skip
    assert choice.adapter == "nothing" and choice.harmful == ("mmd(1e5)",)


def test_choosing_refuses() -> None:
    with pytest.raises(ValueError, match="score='reverse'; it must be one of importance, information"):
        choose_alignment(perceptron(), TensorSource(*rows()), rows()[0], score="reverse")
    few = TensorSource(torch.zeros(4, 5), [0, 0, 0, 1])
    with pytest.raises(ValueError, match=r"class 1 has 1 row\(s\)"):
        choose_alignment(perceptron(), few, rows()[0])
