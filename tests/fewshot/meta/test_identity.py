"""What makes a training the same, and what makes it another."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from training_examples import (
    OTHER,
    SPEC,
    held,
    interrupted,
    rewritten,
    run,
    same_weights,
)

from fewshot import Learner, load_learner
from fewshot.learners import MAML
from fewshot.meta import load_weights


def shift(rows: torch.Tensor, generator: torch.Generator, amount: float) -> torch.Tensor:
    return rows + amount


CHANGES: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "validation rows": (held(), held(OTHER), "another validation: validation.source was"),
    "validation episodes drawn": (held(), held(seed=1), r"another validation: validation.sampler.seed was 0, now it is 1"),
    "no validation": (held(), {}, "another validation"),
    "validation later": ({}, held(), "another validation"),
    "validation episodes": (held(), {**held(), "validation_episodes": 6}, "another validation: validation.episodes was 5"),
    "times of validation": (held(), {**held(), "every": 4}, "another validation: validation.every was 2"),
    "augment by value": (
        {"augment": partial(shift, amount=0.1)}, {"augment": partial(shift, amount=0.2)}, "another augment",
    ),
    "augment by code": ({"augment": lambda rows, g: rows + 1}, {"augment": lambda rows, g: rows - 1}, "another augment"),
    "augmented later": ({}, {"augment": lambda rows, g: rows - 1}, "another augment: augment was None"),
    "optimizer": ({}, {"lr": 0.5}, r"another plan: plan.lr was 0.001, now it is 0.5"),
    "spec": ({}, {"learner": "mlp(item_shape=(8,), widths=(5,)) | prototypes"}, "another learner: learner.spec"),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_another_training_is_refused(name: str, tmp_path: Path) -> None:
    before, after, words = CHANGES[name]
    interrupted(tmp_path, **before)
    with pytest.raises(ValueError, match=words):
        run(tmp_path, **after)
    assert run(tmp_path, **before).step == 8


def scaled(factor: float) -> type[Learner]:
    """A learner whose formula was corrected, under the same name."""

    class Means(Learner):
        name = "means"

        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(8))

        def adapt(self, episode: Any) -> torch.Tensor:
            one_hot = episode.one_hot
            means: torch.Tensor = one_hot.mT @ (episode.support * self.weight) / one_hot.sum(1).unsqueeze(-1)
            return means

        def predict(self, state: torch.Tensor, query: torch.Tensor) -> torch.Tensor:
            return -factor * torch.cdist(query * self.weight, state)

    return Means


def test_a_learner_whose_formula_was_corrected_is_another_training(tmp_path: Path) -> None:
    interrupted(tmp_path, learner=scaled(1.0)())
    with pytest.raises(ValueError, match=r"another learner: learner.digest"):
        run(tmp_path, learner=scaled(2.0)())
    assert run(tmp_path, learner=scaled(1.0)()).step == 8


def test_a_class_that_moved_to_another_module_is_the_same_learner(tmp_path: Path) -> None:
    interrupted(tmp_path)

    def change(state: dict[str, Any]) -> None:
        assert state["identity"]["learner"]["class"] == "fewshot.transforms.pipeline.Pipeline"
        state["identity"]["learner"]["class"] = "fewshot.transforms.Pipeline"  # where version 0.1 had it

    rewritten(tmp_path / "state.json", change)
    assert same_weights(run(tmp_path).learner, run().learner)


def test_frozen_layers_are_part_of_a_training(tmp_path: Path) -> None:
    def net(frozen: bool) -> MAML:
        torch.manual_seed(0)
        layers = nn.Sequential(nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 6))
        learner = MAML(layers, way=3, item_shape=(8,), steps=1)
        layers[0].requires_grad_(not frozen)
        return learner

    interrupted(tmp_path, learner=net(False))
    with pytest.raises(ValueError, match=r"another learner: learner.frozen"):
        run(tmp_path, learner=net(True))


def test_a_learner_comes_with_the_weights_it_began_with_or_was_led_to(tmp_path: Path) -> None:
    def fresh(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        return load_learner(SPEC)

    learner = fresh(0)
    whole = run(learner=fresh(0)).learner
    interrupted(tmp_path, learner=learner)
    with pytest.raises(ValueError, match=r"began with other weights.*load_weights"):
        run(tmp_path, learner=fresh(1))
    assert same_weights(run(tmp_path, learner=learner).learner, whole)  # with the weights of the checkpoint
    read = load_weights(fresh(1), tmp_path / "last.safetensors")
    assert same_weights(run(tmp_path, learner=read).learner, whole)
    assert same_weights(run(tmp_path, learner=fresh(0)).learner, whole)


def test_an_unknowable_augmentation_is_refused_only_where_it_would_be_stored(tmp_path: Path) -> None:
    class Opaque:
        def __init__(self) -> None:
            self.lines = iter(())

        def __call__(self, rows: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
            return rows

    assert run(augment=Opaque()).step == 8
    with pytest.raises(ValueError, match="shows no state"):
        run(tmp_path, augment=Opaque())


def test_a_trained_learner_is_the_same_learner_as_a_fresh_one(tmp_path: Path) -> None:
    spec = "maml++(net='mlp(widths=(6,))', way=3, item_shape=(8,), steps=1)"
    learner = load_learner(spec)
    interrupted(tmp_path, learner=learner)
    assert "share_done" not in vars(learner)
    assert run(tmp_path, learner=learner).step == 8
