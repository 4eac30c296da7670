"""PT-MAP: against slow references and the claims of its own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import references.transductive as references
import torch
from learner_checks import TRANSDUCTIVE, equals_transductive, same_alone_and_padded

from episodes import Episode
from fewshot import load_learner
from fewshot.learners import PTMAP

REFERENCES: dict[str, Callable[..., Any]] = {
    "pt-map(marginal_tolerance=1e-12)": partial(references.pt_map, tightness=1.0, believed=1.0),
    "pt-map(marginal_tolerance=1e-12, steps=5, lr=0.2, tightness=None, means=0.0)": partial(
        references.pt_map, steps=5, rate=0.2
    ),
    "pt-map(query_prior='free', power=1.0, means=0.5)": partial(
        references.pt_map, query_prior="free", power=1.0, believed=0.5
    ),
}


@pytest.mark.parametrize("spec", REFERENCES)
@pytest.mark.parametrize("shots", TRANSDUCTIVE, ids=str)
def test_equals_the_numpy_reference(spec: str, shots: list[int]) -> None:
    equals_transductive(spec, REFERENCES[spec], shots)


@pytest.mark.parametrize("spec", REFERENCES)
def test_batch_and_padding_change_nothing(spec: str) -> None:
    same_alone_and_padded(spec, 1e-7)


@pytest.mark.parametrize("normalise", [True, False])
def test_gradients_reach_support_and_queries_where_nothing_is_assumed_of_them(normalise: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    support, query = (torch.randn(1, rows, 3, generator=generator, dtype=torch.float64) for rows in (4, 5))
    learner = PTMAP(query_prior="free", steps=2, normalise=normalise, means=0.0)

    def logits(*rows: torch.Tensor) -> torch.Tensor:
        return learner(Episode(rows[0], torch.tensor([[0, 1, 0, 1]]), rows[1], way=2)).log_softmax(-1)

    assert torch.autograd.gradcheck(logits, (support.requires_grad_(), query.requires_grad_()))


PAPER = "pt-map(steps=20, lr=0.2, tightness=None, means=0.0)"


def right(spec: str, episode: Episode, truth: torch.Tensor) -> float:
    with torch.no_grad():
        return float((load_learner(spec)(episode).argmax(-1) == truth).float().mean())


def clouds(shots: int, shares: list[int], centres: torch.Tensor, noise: torch.Tensor) -> tuple[Episode, torch.Tensor]:
    """40 episodes of clouds around the centres ``[N, D]``, with so many queries of each class."""
    generator = torch.Generator().manual_seed(0)
    way = len(centres)

    def rows(labels: torch.Tensor) -> torch.Tensor:
        return centres[labels] + noise * torch.randn(40, len(labels), len(noise), generator=generator)

    known, truth = torch.arange(way).repeat(shots), torch.arange(way).repeat_interleave(torch.tensor(shares))
    return Episode(rows(known), known.expand(40, -1), rows(truth), way=way), truth


def test_queries_need_not_be_shared_out_evenly() -> None:
    episode, truth = clouds(5, [30, 20, 10, 4], 2 * torch.eye(4, 12), torch.full((12,), 0.5))
    paper = right(PAPER, episode, truth)
    assert right("pt-map(means=0.0)", episode, truth) > paper + 0.05
    assert right("pt-map", episode, truth) > paper + 0.15


def test_class_means_answer_where_queries_scatter_along_no_difference_of_classes() -> None:
    centres, noise = torch.zeros(2, 30), torch.ones(30)
    centres[0, 0], centres[1, 0], noise[1] = 1.0, -1.0, 6.0
    episode, truth = clouds(10, [60, 60], centres, noise)
    means = right("prototypes", episode, truth)
    assert right(PAPER, episode, truth) < means - 0.03
    assert right("pt-map", episode, truth) > means - 0.01


def test_rows_that_cannot_be_held_out_leave_the_weights_as_they_are() -> None:
    """Nothing is held out of single rows; with two of one class alone, these two are."""
    single, _ = clouds(1, [5, 5, 5], torch.eye(3, 6), torch.full((6,), 0.5))
    padded = single.replace(
        support=torch.cat([single.support, single.support[:, :1] + 1], 1),
        labels=torch.cat([single.labels, torch.full((40, 1), -1)], 1),
    )
    several = padded.replace(labels=torch.cat([single.labels, torch.zeros(40, 1, dtype=torch.int64)], 1))
    with torch.no_grad():
        alone, beside = (load_learner("pt-map")(episode) for episode in (single, padded))
        torch.testing.assert_close(beside, alone, rtol=1e-4, atol=1e-4)
        assert load_learner("pt-map")(several).isfinite().all()
