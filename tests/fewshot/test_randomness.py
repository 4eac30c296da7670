"""Dropout in training: by the arguments alone, the same after an interruption."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from training_examples import (
    SPEC,
    TRAIN,
    Stop,
    held,
    run,
    same_weights,
    sampler,
    stop_at,
)

from episodes import evaluate
from fewshot import load_learner
from fewshot.learners import MAML
from fewshot.meta import pretrain
from fewshot.nets.front import MLPFront
from fewshot.randomness import seeded
from fewshot.transforms import Pipeline


class Dropping(nn.Module):
    """Dropout between two layers, in front of a learner."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(8, 12), nn.Dropout(0.4), nn.Linear(12, 6))
        self.dim = 6

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.layers(x)
        return features


def dropping(kind: str) -> nn.Module:
    with seeded(torch.device("cpu"), 7):
        if kind == "maml":
            return MAML(Dropping(), way=3, item_shape=(8,), steps=2)
        front = MLPFront((8,), (6,))
        front.net = Dropping()  # type: ignore[assignment]
        return Pipeline([front], load_learner("prototypes"))


@pytest.mark.parametrize("kind", ["front", "maml", "pretrain"])
def test_dropout_depends_on_the_arguments_alone_and_resumes(kind: str, tmp_path: Path) -> None:
    def go(out: Path | None = None, **options: Any) -> nn.Module:
        if kind == "pretrain":
            return pretrain(
                dropping("front"), TRAIN, epochs=3, batch=40, every=2, out=out, progress=False, device="cpu", **options
            ).learner
        return run(out, learner=dropping(kind), **options).learner

    torch.manual_seed(0)
    state = torch.get_rng_state()
    whole = go(**held())
    assert torch.equal(torch.get_rng_state(), state)  # the caller's random numbers are where they were
    torch.manual_seed(123)
    assert same_weights(go(**held()), whole)
    other = {"seed": 1} if kind == "pretrain" else {"first": 1}
    assert not same_weights(go(**held(), **other), whole)
    with pytest.raises(Stop):
        go(tmp_path, callbacks=[stop_at(4)], **held())
    torch.rand(3)
    assert same_weights(go(tmp_path, **held()), whole)


def test_dropout_is_off_in_the_inner_loop_of_an_evaluation() -> None:
    learner = dropping("maml").train()
    state = torch.get_rng_state()
    scores = [evaluate({"m": learner}, TRAIN, sampler(), episodes=6, progress=False)["m"].scores for _ in range(2)]
    assert scores[0].tolist() == scores[1].tolist() and torch.equal(torch.get_rng_state(), state)
    assert learner.training


def test_every_step_drops_something_else() -> None:
    drawn = []
    for key in ((0, 0), (0, 1), (1, 0), (0, 0, 1), (0, 0)):
        with seeded(torch.device("cpu"), *key):
            drawn.append(torch.rand(4))
    assert torch.equal(drawn[0], drawn[4]) and len({tuple(part.tolist()) for part in drawn}) == 4
    with pytest.raises(ValueError, match="seed=-1"):
        pretrain(SPEC, TRAIN, seed=-1, progress=False)
