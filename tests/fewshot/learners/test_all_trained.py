"""All learners with parameters of their own: gradients, references, absent classes."""

from __future__ import annotations

from functools import partial

import pytest
import references.inductive as references
import torch
from learner_episodes import expect, make, padded

from fewshot import load_learner
from fewshot.learners import FEAT, R2D2, Relation, ScaledPrototypes


@pytest.mark.parametrize("learner", [R2D2(), ScaledPrototypes()])
def test_their_parameters_learn(learner: torch.nn.Module) -> None:
    episode = make([4, 4, 4], dim=8)[0]
    targets = torch.randint(3, episode.query.shape[:2], generator=torch.Generator().manual_seed(0))
    loss = torch.nn.functional.cross_entropy(learner(episode).flatten(0, 1), targets.flatten())
    gradients = torch.autograd.grad(loss, list(learner.parameters()))
    assert all(bool(g.isfinite()) and float(g.abs()) > 0 for g in gradients)


@pytest.mark.parametrize("shots", [[3, 3, 3], [5, 1, 0]])
def test_relation_and_feat_equal_slow_references(shots: list[int]) -> None:
    random = torch.Generator().manual_seed(4)
    learners = (FEAT(dim=6, scale=0.7).double(), Relation(dim=6, hidden=5).double())
    for learner in learners:
        for parameter in learner.parameters():
            parameter.data = torch.randn(parameter.shape, generator=random, dtype=torch.float64)
    feat, relation = learners
    maps = {name: getattr(feat, name).weight.detach().numpy() for name in ("query", "key", "value", "out")}
    layers = [parameter.detach().numpy() for parameter in relation.compare.parameters()]
    episode = make(shots, dim=6)[0]
    for found, reference in ((feat(episode), partial(references.feat, maps=maps, scale=0.7)),
                             (relation(episode), partial(references.relation, maps=layers))):  # fmt: skip
        for given in (episode, padded(episode)):
            torch.testing.assert_close(found.detach(), expect(reference, given))
    torch.testing.assert_close(feat(padded(episode)), feat(episode))
    torch.testing.assert_close(relation(padded(episode)), relation(episode))


@pytest.mark.parametrize("spec", ["r2d2", "scaled-prototypes", "feat(dim=6)", "relation(dim=6)"])
def test_a_class_without_support_is_never_answered(spec: str) -> None:
    found = load_learner(spec).double()(make([5, 1, 0], dim=6)[0])
    assert found.isneginf().all((0, 1)).tolist() == [False, False, True]
