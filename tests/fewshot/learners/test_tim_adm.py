"""TIM by alternating directions: against slow references and the claims of its own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import references.transductive as references
import torch
from learner_checks import TRANSDUCTIVE, equals_transductive, same_alone_and_padded
from torch import Tensor

from episodes import Episode, EpisodeSampler, TensorSource
from fewshot import load_learner

REFERENCES: dict[str, Callable[..., Any]] = {
    "tim-adm(steps=2)": partial(references.rescaled, references.tim_adm, steps=2, scale=10.0),
    "tim-adm(steps=12, scale=1.0, momentum=1.0)": partial(references.tim_adm, steps=12, scale=1.0, momentum=1.0),
}


@pytest.mark.parametrize("spec", REFERENCES)
@pytest.mark.parametrize("shots", TRANSDUCTIVE, ids=str)
def test_equals_the_numpy_reference(spec: str, shots: list[int]) -> None:
    equals_transductive(spec, REFERENCES[spec], shots)


@pytest.mark.parametrize("spec", REFERENCES)
def test_batch_and_padding_change_nothing(spec: str) -> None:
    same_alone_and_padded(spec, 1e-7)


def test_tim_adm_does_not_let_rounding_decide_among_many_classes(shared_data: Path) -> None:
    """37 textures; with whole steps assignments swing, and noise of 1e-6 moves an episode by 5 points."""
    with np.load(shared_data / "clip_vitb32" / "dtd.npz") as file:
        source = TensorSource(file["test_X"].astype(np.float32), file["test_y"])
    drawn = EpisodeSampler(source.labels, way=37, shot=5, query=10, seed=0).draw(0, 4)
    rows, cut = source[drawn.rows], drawn.support.shape[1]
    episode = Episode(rows[:, :cut], drawn.labels, rows[:, cut:], way=37)
    noise = 1e-6 * torch.randn(episode.query.shape, generator=torch.Generator().manual_seed(0))

    def accuracy(spec: str, of: Episode) -> Tensor:
        return 100 * (load_learner(spec)(of).argmax(-1) == drawn.targets).double().mean(1)

    steady = accuracy("tim-adm", episode)
    moved = accuracy("tim-adm", episode.replace(query=episode.query + noise)) - steady
    assert moved.abs().max() < 0.5
    assert steady.mean() > accuracy("prototypes", episode).mean() + 2
