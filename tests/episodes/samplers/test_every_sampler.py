"""What every sampler promises: determinism, rows of the right classes, a recipe; and `evaluate` works with it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from sampler_examples import FIELDS, LABELS, MADE, UNEQUAL, labels_of

from episodes import (
    CrossDomainSampler,
    DirichletSampler,
    EpisodeSampler,
    ExhaustiveSampler,
    HierarchicalSampler,
    OpenSetSampler,
    SemiSupervisedSampler,
    TensorSource,
    VariableSampler,
    evaluate,
)
from episodes.draw import OPEN
from episodes.samplers import SAMPLERS


def test_an_episode_depends_on_its_number_only(sampler: Any) -> None:
    together = sampler.draw(0, 40)
    for field in FIELDS:
        alone = torch.cat([getattr(sampler.draw(e, 1), field) for e in range(40)])
        assert torch.equal(getattr(together, field), alone), field
    assert torch.equal(sampler.draw(17, 9).rows, together.rows[17:26])
    assert len(sampler.draw(5, 0)) == 0


def test_rows_are_of_the_classes_they_claim(sampler: Any) -> None:
    labels = torch.from_numpy(labels_of(sampler))
    drawn = sampler.draw(0, 200 if sampler.kind != "exhaustive" else sampler.available)
    for rows, ways in ((drawn.support, drawn.labels), (drawn.query, drawn.targets)):
        real = ways >= 0
        of = drawn.classes.gather(1, ways.clamp(min=0))
        assert torch.equal(labels[rows][real], of[real])
    for e in range(len(drawn)):
        support = drawn.support[e][drawn.labels[e] >= 0].tolist()
        query = drawn.query[e][(drawn.targets[e] >= 0) | (drawn.targets[e] == OPEN)].tolist()
        assert len({*support, *query}) == len(support) + len(query), "a row twice in one episode"
        classes = drawn.classes[e][drawn.classes[e] >= 0].tolist()
        assert len(set(classes)) == len(classes)


def test_evaluate_takes_it(sampler: Any) -> None:
    labels = labels_of(sampler)
    generator = torch.Generator().manual_seed(0)
    features = 3 * torch.eye(9)[torch.from_numpy(labels)] + torch.rand(len(labels), 9, generator=generator)
    source = TensorSource(features, torch.from_numpy(labels))
    results = evaluate(["prototypes", "ridge"], source, sampler, episodes=12, progress=False)
    assert results["prototypes"].mean > 0.9
    again = evaluate(["prototypes", "ridge"], source, sampler, episodes=12, chunk=1, progress=False)
    assert np.array_equal(results["ridge"].scores, again["ridge"].scores)


@pytest.mark.parametrize("name", MADE)
def test_recipes_name_the_labels_they_draw_from(name: str) -> None:
    """Labels of the same length and counts, but in another order, give other episodes under the same arguments."""
    ordered, turned = MADE[name](), MADE[name](slice(None, None, -1))
    assert ordered.recipe() == MADE[name]().recipe() == json.loads(json.dumps(ordered.recipe()))
    assert not torch.equal(ordered.draw(0, 8).rows, turned.draw(0, 8).rows)
    assert ordered.recipe() != turned.recipe()


def test_recipes_name_domains_and_groups() -> None:
    def recipe(domains: np.ndarray, **more: Any) -> dict[str, Any]:
        return CrossDomainSampler(UNEQUAL, domains, 3, 2, 4, **more).recipe()

    number = np.arange(len(UNEQUAL))
    assert recipe(number % 2) != recipe((number + 1) % 2)
    assert recipe(number % 2) != recipe(number % 2, support_domain=1, query_domain=0)
    groups = ([[0, 1, 2], [3, 4, 5]], [[0, 1, 3], [2, 4, 5]])
    assert len({str(HierarchicalSampler(UNEQUAL, part, 3, 1, 5).recipe()) for part in groups}) == 2


def test_recipes_differ() -> None:
    recipes = [str(sorted(make().recipe().items())) for make in MADE.values()]
    assert len(set(recipes)) == len(recipes)
    assert {make().kind for make in MADE.values()} | {"fixed", "disjoint", "manifest"} == set(SAMPLERS.names())
    assert all(SAMPLERS.get(make().kind) is type(make()) for make in MADE.values())
    assert DirichletSampler(LABELS, alpha=1.0).recipe() != DirichletSampler(LABELS).recipe()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: VariableSampler(UNEQUAL, query=0), "query=0; it must be an integer of at least 1"),
        (lambda: VariableSampler(UNEQUAL, least_way=4, most_way=3), "most_way=3; it must be an integer of at least 4"),
        (lambda: VariableSampler(UNEQUAL, least_way=12), "least_way=12, but 'the dataset' has 9 classes"),
        (lambda: OpenSetSampler(UNEQUAL, open_way=1.5), "open_way=1.5; it must be an integer"),
        (lambda: SemiSupervisedSampler(UNEQUAL, unlabelled="5"), "unlabelled='5'; it must be an integer"),
        (lambda: SemiSupervisedSampler(UNEQUAL, 5, 5, 15, unlabelled=50), r"shot \+ unlabelled \+ query = 70 rows"),
        (lambda: ExhaustiveSampler([0, 0, 1, 1], 2, 2), r"with at least shot \+ 1 = 3 rows .*lower way or shot"),
        (lambda: DirichletSampler(UNEQUAL, alpha="2"), "alpha='2'; it must be positive"),
        (lambda: EpisodeSampler(UNEQUAL, episodes=-1), "episodes=-1"),
        (lambda: EpisodeSampler(UNEQUAL, seed=None), "seed=None; it must be an integer from 0"),
        (lambda: EpisodeSampler(UNEQUAL, classes=[0.5]), "classes are float64"),
        (lambda: EpisodeSampler(UNEQUAL, classes=[-1, 0]), r"classes contain -1, but 'the dataset' has classes 0\.\.8"),
    ],
)
def test_bad_arguments_are_named(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
