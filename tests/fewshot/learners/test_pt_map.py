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
from fewshot.learners import PTMAP

REFERENCES: dict[str, Callable[..., Any]] = {
    "pt-map(marginal_tolerance=1e-12, steps=5)": partial(references.pt_map, steps=5),
    "pt-map(query_prior='free', power=1.0)": partial(references.pt_map, query_prior="free", power=1.0),
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
    learner = PTMAP(query_prior="free", steps=2, normalise=normalise)

    def logits(*rows: torch.Tensor) -> torch.Tensor:
        return learner(Episode(rows[0], torch.tensor([[0, 1, 0, 1]]), rows[1], way=2)).log_softmax(-1)

    assert torch.autograd.gradcheck(logits, (support.requires_grad_(), query.requires_grad_()))
