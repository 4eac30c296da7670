"""Zero-shot: against slow references and the claims of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import references.text as references
import torch
from learner_checks import WITH_TEXT, equals_with_text
from learner_episodes import with_text
from scipy.optimize import brentq
from scipy.special import softmax
from scipy.stats import entropy
from torch import Tensor
from torch.nn.functional import normalize

from episodes import Episode
from fewshot import load_learner

REFERENCES: dict[str, Callable[..., Any]] = {
    "zero-shot": references.zero_shot,
}


@pytest.mark.parametrize("spec", REFERENCES)
@pytest.mark.parametrize("shots", WITH_TEXT, ids=str)
def test_equals_the_reference(spec: str, shots: list[int]) -> None:
    equals_with_text(spec, REFERENCES[spec], shots)


def templates() -> tuple[Episode, Tensor]:
    episode = with_text([1, 1, 1, 1])
    assert episode.text is not None
    generator = torch.Generator().manual_seed(2)
    noise = torch.randn(len(episode), 4, 6, 16, generator=generator, dtype=torch.float64)
    each = normalize(normalize(episode.text, dim=-1).unsqueeze(2) + 0.1 * noise, dim=-1)
    return episode.replace(text=each), each


def test_templates_are_averaged_as_vectors() -> None:
    episode, each = templates()
    plain = episode.replace(text=each.mean(2))
    torch.testing.assert_close(load_learner("zero-shot")(episode), load_learner("zero-shot")(plain))
    torch.testing.assert_close(load_learner("proker")(episode), load_learner("proker")(plain))


def test_marginal_over_contexts_equals_its_formula() -> None:
    episode, each = templates()
    found = load_learner("zero-shot(combine='marginal')")(episode).exp()
    query = normalize(episode.query, dim=-1)
    scores = 100 * torch.einsum("eqd,entd->eqnt", query, each)
    context = torch.softmax(scores.exp().sum(2).log(), -1)
    wanted = (torch.softmax(scores, 2) * context.unsqueeze(2)).sum(-1)
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(found.sum(-1), torch.ones_like(found.sum(-1)))


def test_autoclip_keeps_the_entropy_asked_for_and_leans_to_agreement() -> None:
    episode, each = templates()
    learner = load_learner("zero-shot(combine='autoclip', evenness=0.7)")
    found = learner(episode)
    query = normalize(episode.query, dim=-1)
    scores = 100 * torch.einsum("eqd,entd->eqnt", query, each)
    share = torch.softmax(scores.mean(-1), -1)
    gradient = (share.unsqueeze(-1) * (scores - scores.mean(-1, keepdim=True))).sum(2) / 6
    for e in range(2):
        for q in range(3):
            slope = gradient[e, q].numpy()

            def surplus(length: float, slope: np.ndarray = slope) -> float:
                return float(entropy(softmax(length * slope))) / np.log(6) - 0.7

            weights = softmax(brentq(surplus, 0, 1e3 / abs(slope).max(), xtol=1e-14, rtol=1e-14) * slope)
            wanted = (scores[e, q] * torch.from_numpy(weights)).sum(-1)
            torch.testing.assert_close(found[e, q], wanted, atol=1e-6, rtol=1e-6)
