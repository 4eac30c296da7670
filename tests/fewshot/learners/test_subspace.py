"""Adaptive subspaces: against slow references and the claims of its own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import references.inductive as references
import torch
from learner_checks import INDUCTIVE, equals_inductive, same_alone_and_padded

from episodes import Episode
from fewshot import load_learner

REFERENCES: dict[str, Callable[..., Any]] = {
    "subspace": references.subspace_validated,
    "subspace(dimensions=1)": partial(references.subspace_validated, dimensions=1),
    "subspace(validated=False)": references.subspace,
    "subspace(dimensions=1, validated=False)": partial(references.subspace, dimensions=1),
}


@pytest.mark.parametrize("spec", REFERENCES)
@pytest.mark.parametrize(("shots", "dim"), INDUCTIVE, ids=str)
def test_equals_the_numpy_reference(spec: str, shots: list[int], dim: int) -> None:
    equals_inductive(spec, REFERENCES[spec], shots, dim)


@pytest.mark.parametrize("spec", REFERENCES)
def test_batch_and_padding_change_nothing(spec: str) -> None:
    same_alone_and_padded(spec, 1e-6)


def lines(apart: float, scatter: float, length: float) -> tuple[Episode, torch.Tensor]:
    """Two classes of nine rows, each along a direction of its own, and queries."""
    random = torch.Generator().manual_seed(0)
    labels = torch.arange(2).repeat_interleave(9)
    asked = torch.arange(2).repeat_interleave(100)
    rows, query = (torch.randn(len(at), 20, generator=random, dtype=torch.float64) * scatter for at in (labels, asked))
    for part, at in ((rows, labels), (query, asked)):
        part[torch.arange(len(at)), at] += length * torch.randn(len(at), generator=random, dtype=torch.float64)
        part[:, 2] += apart * at
    return Episode(rows[None], labels[None], query[None], way=2), asked


def test_held_out_rows_tell_whether_subspaces_are_worth_anything() -> None:
    along, _ = lines(apart=0.0, scatter=0.3, length=5.0)
    noise, asked = lines(apart=2.0, scatter=1.0, length=0.0)
    learner = load_learner("subspace")
    assert float(learner.adapt(along).share) > 0.9
    assert float(learner.adapt(noise).share) < 0.5
    right = [float((load_learner(spec)(noise)[0].argmax(-1) == asked).float().mean())
             for spec in ("subspace", "subspace(validated=False)")]  # fmt: skip
    assert right[0] >= right[1]


def test_two_rows_of_a_class_leave_the_paper_its_setting() -> None:
    episode, _ = lines(apart=1.0, scatter=1.0, length=1.0)
    few = episode.replace(support=episode.support[:, [0, 1, 9, 10]], labels=episode.labels[:, [0, 1, 9, 10]])
    torch.testing.assert_close(load_learner("subspace")(few), load_learner("subspace(validated=False)")(few))
