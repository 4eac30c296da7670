"""TIM, alpha-TIM and transductive fine-tuning: against slow references and the claims of its own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import references.transductive as references
import torch
from learner_checks import TRANSDUCTIVE, equals_transductive, same_alone_and_padded
from learner_episodes import make

from fewshot import load_learner

GENTLE = {"steps": 3, "rate": 0.05, "scale": 2.0}
TUNED = partial(references.tuned, **GENTLE)
TIM = {"weights": (0.3, 1.0, 0.1), "alpha": None}
REFERENCES: dict[str, Callable[..., Any]] = {
    "tim(steps=3, lr=0.02)": partial(
        references.rescaled, references.tuned, **TIM, steps=3, rate=0.02, scale=10.0, metric="squared"
    ),
    "transductive-finetune(steps=3)": partial(
        references.rescaled,
        references.tuned,
        weights=(1.0, 0.0, 0.1),
        alpha=None,
        steps=3,
        rate=1e-4,
        scale=10.0,
        metric="cosine",
    ),
    "tim(steps=3, lr=0.05, scale=2.0)": partial(TUNED, **TIM, metric="squared"),
    "tim(steps=3, lr=0.05, scale=2.0, metric='cosine')": partial(TUNED, **TIM, metric="cosine"),
    "tim(steps=3, lr=0.05, scale=2.0, metric='euclidean')": partial(TUNED, **TIM, metric="euclidean"),
    "alpha-tim(steps=3, lr=0.05, scale=2.0, alpha=3.0)": partial(
        TUNED, weights=(3.0, 1.0, 1.0), alpha=3.0, metric="squared"
    ),
    "transductive-finetune(steps=3, lr=0.05, scale=2.0, entropy=1.0)": partial(
        TUNED, weights=(1.0, 0.0, 1.0), alpha=None, metric="cosine"
    ),
}


@pytest.mark.parametrize("spec", REFERENCES)
@pytest.mark.parametrize("shots", TRANSDUCTIVE, ids=str)
def test_equals_the_numpy_reference(spec: str, shots: list[int]) -> None:
    equals_transductive(spec, REFERENCES[spec], shots)


@pytest.mark.parametrize("spec", REFERENCES)
def test_batch_and_padding_change_nothing(spec: str) -> None:
    same_alone_and_padded(spec, 1e-7)


def test_alpha_follows_the_shots_of_each_episode() -> None:
    few, _ = make([4, 4, 4], dtype=torch.float32, episodes=2)
    many, _ = make([5, 5, 5], dtype=torch.float32, episodes=2)
    arguments = "steps=5, lr=0.01, scale=1.0"
    for episode, alpha in ((few, 2.0), (many, 7.0)):
        automatic = load_learner(f"alpha-tim(alpha='auto', {arguments})")(episode)
        torch.testing.assert_close(automatic, load_learner(f"alpha-tim(alpha={alpha}, {arguments})")(episode))
