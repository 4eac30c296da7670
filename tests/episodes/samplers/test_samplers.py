"""Samplers beside the fixed one: what each promises, determinism, and that `evaluate` works with it."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
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
    ManifestSampler,
    OpenSetSampler,
    Results,
    SemiSupervisedSampler,
    TensorSource,
    VariableSampler,
    evaluate,
    save_episodes,
)
from episodes.draw import OPEN
from episodes.samplers import SAMPLERS
from episodes.samplers.cross_domain import join
from episodes.samplers.hierarchical import groups_of_names, groups_of_tree
from episodes.samplers.imbalanced import gammas, round_to
from episodes.samplers.task_label import task_label


@pytest.fixture(params=MADE)
def sampler(request: pytest.FixtureRequest) -> Any:
    return MADE[request.param]()


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


class TestDirichlet:
    def test_totals_hold_and_classes_and_support_are_the_balanced_ones(self) -> None:
        uneven, even = DirichletSampler(LABELS, 5, 3, 15, seed=7), EpisodeSampler(LABELS, 5, 3, 15, seed=7)
        drawn, balanced = uneven.draw(0, 300), even.draw(0, 300)
        assert torch.equal(drawn.classes, balanced.classes)
        assert torch.equal(drawn.support, balanced.support)
        assert drawn.query.shape == (300, 75)
        for e in range(0, 300, 37):
            for n in range(5):
                ours, theirs = (
                    part.query[e][part.targets[e] == n].tolist() for part in (drawn, balanced)
                )  # fmt: skip
                short = min(len(ours), len(theirs))
                assert ours[:short] == theirs[:short]

    @pytest.mark.parametrize("alpha", [0.5, 2.0, 5.0])
    def test_the_shares_have_the_moments_of_the_distribution(self, alpha: float) -> None:
        labels = np.repeat(np.arange(6), 400)
        drawn = DirichletSampler(labels, 5, 1, 60, alpha=alpha).draw(0, 4000)
        shares = torch.stack([(drawn.targets == n).float().mean(1) for n in range(5)], 1)  # [E, N]
        variance = 0.2 * 0.8 / (5 * alpha + 1)
        assert shares.mean(0).tolist() == pytest.approx([0.2] * 5, abs=5 * (variance / 4000) ** 0.5)
        assert float(shares.var(0).mean()) == pytest.approx(variance, rel=0.06)

    def test_a_class_gives_no_more_than_it_has(self) -> None:
        labels = np.repeat(np.arange(5), [11, 12, 13, 200, 14])
        drawn = DirichletSampler(labels, 5, 1, 10, alpha=0.5).draw(0, 500)
        assert drawn.query.shape == (500, 50)
        counts = torch.stack([(drawn.targets == n).sum(1) for n in range(5)], 1).gather(1, drawn.classes.argsort(1))
        assert (counts <= torch.tensor([10, 11, 12, 199, 13])).all()

    def test_golden(self) -> None:
        drawn = DirichletSampler(LABELS, 3, 1, 4, seed=1).draw(10, 1)
        assert drawn.query.tolist() == GOLDEN["dirichlet"]

    def test_gamma_variates(self) -> None:
        numbers = np.random.default_rng(0).random((20_000, 36 * 2))
        for alpha in (0.3, 1.0, 2.0, 9.0):
            values = gammas(alpha, numbers, 2)
            assert values.mean() == pytest.approx(alpha, rel=0.03)
            assert values.var() == pytest.approx(alpha, rel=0.08)

    def test_rounding_keeps_totals(self) -> None:
        shares = np.random.default_rng(0).dirichlet([1] * 7, 500)
        counts = round_to(shares, np.full(500, 31))
        assert (counts.sum(1) == 31).all() and (np.abs(counts - 31 * shares) < 1).all()


class TestHierarchical:
    def test_classes_of_an_episode_are_of_one_group(self) -> None:
        sampler = HierarchicalSampler(LABELS, [[0, 1, 2, 3], [4, 5, 6, 7, 8], [9, 10]], 3, 1, 5)
        drawn = sampler.draw(0, 600)
        groups = [tuple({n // 4 if n < 4 else 1 for n in row}) for row in drawn.classes.tolist()]
        assert all(len(group) == 1 for group in groups)
        assert 240 < sum(group == (0,) for group in groups) < 360, "groups are drawn alike, whatever their size"

    def test_names_and_trees(self) -> None:
        assert groups_of_names(["a/x", "b/x", "a/y"]) == [[0, 2], [1]]
        with pytest.raises(ValueError, match="has no '/' in its name"):
            groups_of_names(["a/x", "b"])
        tree = {"pet": ["cat", "dog"], "animal": ["pet", "owl"], "thing": ["animal", "tin"]}
        assert groups_of_tree(tree, ["cat", "dog", "owl"]) == [[0, 1], [0, 1, 2], [0, 1, 2]]
        with pytest.raises(ValueError, match="cycle: a -> b -> a"):
            groups_of_tree({"a": ["b"], "b": ["a"]}, ["c"])

    def test_too_small_groups_are_named(self) -> None:
        with pytest.raises(ValueError, match="the largest of the 2 groups of 'x' has 3 classes"):
            HierarchicalSampler(LABELS, [[0, 1, 2], [3]], 5, 1, 5, name="x")


class TestVariable:
    def test_ways_shots_and_sizes_follow_the_scheme(self) -> None:
        labels = np.repeat(np.arange(60), np.linspace(30, 400, 60).astype(int))
        drawn = VariableSampler(labels, query=10).draw(0, 400)
        ways = (drawn.classes >= 0).sum(1)
        assert (int(ways.min()), int(ways.max())) == (5, 50)
        assert float(ways.float().mean()) == pytest.approx(27.5, abs=2.5)
        shots = torch.stack([(drawn.labels == n).sum(1) for n in range(50)], 1)  # [E, N]
        present = drawn.classes >= 0
        assert (shots[present] >= 1).all() and (shots[~present] == 0).all()
        assert int(shots.sum(1).max()) <= 500
        queries = torch.stack([(drawn.targets == n).sum(1) for n in range(50)], 1)
        assert (queries[present] == 10).all() and (queries[~present] == 0).all()
        sizes = torch.from_numpy(np.bincount(labels))[drawn.classes.clamp(min=0)]
        large, small = shots[present & (sizes > 300)].float().mean(), shots[present & (sizes < 100)].float().mean()
        assert large > 2 * small

    def test_small_classes_have_fewer_queries(self) -> None:
        drawn = VariableSampler(np.repeat(np.arange(6), [4, 50, 50, 50, 50, 50]), query=10).draw(0, 60)
        counts = (drawn.targets == 0).sum(1)
        assert set(counts.tolist()) == {2, 10}
        assert ((drawn.classes == 0).any(1) == (counts == 2)).all()

    def test_padding_repeats_the_episode(self) -> None:
        drawn = VariableSampler(UNEQUAL, query=6, least_way=3, most_way=7).draw(0, 20)
        for e in range(20):
            real = set(drawn.query[e][drawn.targets[e] >= 0].tolist())
            assert set(drawn.query[e].tolist()) == real


class TestOpenSet:
    def test_open_queries_are_of_other_classes(self) -> None:
        sampler = OpenSetSampler(LABELS, 4, 1, 5, seed=2)
        drawn = sampler.draw(0, 300)
        strange = torch.from_numpy(LABELS)[drawn.query[:, 20:]]  # [E, 20]
        assert (drawn.targets[:, 20:] == OPEN).all() and (drawn.targets[:, :20] >= 0).all()
        assert not (strange.unsqueeze(2) == drawn.classes.unsqueeze(1)).any()
        assert len(strange.unique()) == 12
        fixed = EpisodeSampler(LABELS, 4, 1, 5, seed=2).draw(0, 300)
        assert torch.equal(drawn.support, fixed.support) and torch.equal(drawn.query[:, :20], fixed.query)

    def test_too_many_classes(self) -> None:
        with pytest.raises(ValueError, match="open_way=9, but 'the dataset' has 12 classes"):
            OpenSetSampler(LABELS, 4, 1, 5, open_way=9)

    def test_marks_equal_scikit_learn(self) -> None:
        from sklearn.metrics import roc_auc_score

        generator = torch.Generator().manual_seed(0)
        features = 2 * torch.randn(12, 6, generator=generator)[torch.from_numpy(LABELS)]
        source = TensorSource(features + torch.randn(len(LABELS), 6, generator=generator), torch.from_numpy(LABELS))
        sampler = OpenSetSampler(LABELS, 4, 5, 10)
        found = {
            metric: evaluate("prototypes", source, sampler, episodes=30, metric=metric, progress=False)["prototypes"]
            for metric in ("accuracy", "auroc", "fpr95")
        }
        assert len({result.key for result in found.values()}) == 3
        drawn = sampler.draw(0, 30)
        for e in range(30):
            rows = source[drawn.query[e]]
            centres = torch.stack([source[drawn.support[e]][drawn.labels[e] == n].mean(0) for n in range(4)])
            far = torch.cdist(rows.double(), centres.double()).square().min(1).values
            strange = drawn.targets[e] == OPEN
            assert found["auroc"].scores[e] == pytest.approx(roc_auc_score(strange, far), abs=1e-6)
            threshold = np.sort(far[~strange].numpy())[int(np.ceil(0.95 * 40)) - 1]
            expected = (far[strange].numpy() <= threshold).mean()
            assert found["fpr95"].scores[e] == pytest.approx(expected, abs=1e-9)
        assert found["auroc"].mean > 0.8

    def test_any_callable_is_marked_by_its_largest_probability(self) -> None:
        source = TensorSource(torch.eye(12)[torch.from_numpy(LABELS)], torch.from_numpy(LABELS))

        def learner(episode: Any) -> torch.Tensor:
            return episode.query @ (episode.one_hot.mT @ episode.support).mT

        sampler = OpenSetSampler(LABELS, 4, 1, 10)
        assert (
            evaluate({"mine": learner}, source, sampler, episodes=5, metric="auroc", progress=False)["mine"].mean == 1
        )
        with pytest.raises(ValueError, match="draws none; take OpenSetSampler"):
            evaluate({"mine": learner}, source, EpisodeSampler(LABELS), episodes=5, metric="auroc")
        with pytest.raises(ValueError, match="must be one of accuracy, auroc, fpr95"):
            evaluate({"mine": learner}, source, sampler, episodes=5, metric="f1")


class TestExhaustive:
    def test_every_episode_comes_once(self) -> None:
        labels = np.repeat(np.arange(4), [3, 4, 3, 5])
        sampler = ExhaustiveSampler(labels, 2, 2)
        drawn = sampler.draw(0, sampler.available)
        seen = {tuple(row) for row in drawn.support.tolist()}
        expected = {
            (*a, *b)
            for first, second in combinations(range(4), 2)
            for a in combinations(np.flatnonzero(labels == first).tolist(), 2)
            for b in combinations(np.flatnonzero(labels == second).tolist(), 2)
        }
        assert seen == expected and len(expected) == sampler.available
        assert [*map(tuple, drawn.support.tolist())] == sorted(
            seen, key=lambda row: (labels[row[0]], labels[row[2]], row)
        )
        for e in range(sampler.available):
            rest = set(np.flatnonzero(np.isin(labels, drawn.classes[e].numpy())).tolist()) - set(
                drawn.support[e].tolist()
            )
            assert set(drawn.query[e][drawn.targets[e] >= 0].tolist()) == rest

    def test_what_cannot_be_counted_is_refused(self) -> None:
        with pytest.raises(ValueError, match="sets of classes, more than 1,000,000"):
            ExhaustiveSampler(np.repeat(np.arange(100), 3), 10, 1)
        with pytest.raises(ValueError, match="but there are 27 episodes"):
            ExhaustiveSampler([0, 0, 0, 1, 1, 1, 2, 2, 2], 2, 1).draw(20, 8)


class TestCrossDomain:
    def test_support_and_query_are_of_their_domains(self) -> None:
        domains = np.arange(len(UNEQUAL)) % 3
        drawn = CrossDomainSampler(UNEQUAL, domains, 3, 2, 4, support_domain=2, query_domain=0).draw(0, 100)
        assert set(domains[drawn.support.numpy()].ravel()) == {2}
        assert set(domains[drawn.query.numpy()].ravel()) == {0}

    @pytest.mark.parametrize("domain", [0, 1])
    def test_one_domain_for_both_never_asks_what_was_learned(self, domain: int) -> None:
        domains = np.arange(len(UNEQUAL)) % 2
        sampler = CrossDomainSampler(UNEQUAL, domains, 3, 2, 4, support_domain=domain, query_domain=domain)
        drawn = sampler.draw(0, 300)
        assert set(domains[drawn.rows.numpy()].ravel()) == {domain}
        rows = drawn.rows.sort(1).values
        assert (rows[:, 1:] > rows[:, :-1]).all(), "a support row is among the queries"
        truth = torch.from_numpy(UNEQUAL)
        assert torch.equal(truth[drawn.query], drawn.classes.gather(1, drawn.targets))
        with pytest.raises(
            ValueError, match=r"domain 1 of the dataset' has 0 classes with at least shot \+ query = 50"
        ):
            CrossDomainSampler(UNEQUAL, domains, 3, 5, 45, support_domain=1)

    def test_domains_are_one_integer_for_each_row(self) -> None:
        for domains in ([0, 1], np.full(len(UNEQUAL), 0.5), ["a"] * len(UNEQUAL)):
            with pytest.raises(ValueError, match=r"they must be integers \[M\] with M=312"):
                CrossDomainSampler(UNEQUAL, domains)

    def test_it_says_what_is_lacking(self) -> None:
        with pytest.raises(ValueError, match="has 0 classes with at least shot=1 rows in domain 0 and query=50"):
            CrossDomainSampler(UNEQUAL, np.arange(len(UNEQUAL)) % 2, 3, 1, 50)

    def test_sources_are_joined_by_class_name(self) -> None:
        one = TensorSource(torch.zeros(4, 2), [0, 1, 2, 2], ["a", "b", "c"], name="one")
        two = TensorSource(torch.ones(3, 2), [1, 0, 1], ["c", "b"], name="two")
        both, domains = join(one, two)
        assert both.class_names == ["b", "c"]
        assert both.labels.tolist() == [0, 1, 1, 1, 0, 1] or both.labels.tolist() == [0, 1, 1, 0, 1, 0]
        assert domains.tolist() == [0, 0, 0, 1, 1, 1]
        with pytest.raises(ValueError, match="share no class name"):
            join(one, TensorSource(torch.ones(1, 2), [0], ["z"], name="three"))
        with pytest.raises(ValueError, match="rows have shapes"):
            join(one, TensorSource(torch.ones(1, 3), [0], ["a"]))


class TestManifest:
    def test_it_replays_the_very_indices(self, sampler: Any, tmp_path: Path) -> None:
        labels = labels_of(sampler)
        save_episodes(sampler, tmp_path / "episodes.npz", labels=labels, first=5, episodes=7)
        replayed = ManifestSampler(tmp_path / "episodes.npz", labels)
        assert (replayed.available, replayed.way) == (7, sampler.way)
        for field in FIELDS:
            assert torch.equal(getattr(replayed.draw(2, 3), field), getattr(sampler.draw(7, 3), field)), field
        with pytest.raises(ValueError, match="holds 7 episodes"):
            replayed.draw(5, 3)

    def test_another_dataset_is_refused(self, tmp_path: Path) -> None:
        save_episodes(EpisodeSampler(LABELS), tmp_path / "episodes.npz", labels=LABELS, episodes=2)
        with pytest.raises(ValueError, match="other labels than the 480"):
            ManifestSampler(tmp_path / "episodes.npz", LABELS[::-1].copy())
        (tmp_path / "no.npz").write_bytes(b"PK nothing")
        with pytest.raises(ValueError, match="is no manifest of episodes"):
            ManifestSampler(tmp_path / "no.npz", LABELS)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"support": None}, "is no manifest of episodes .*lacks support"),
            ({"header": b"[1]"}, "must hold an object with the field 'format'"),
            ({"header": {"rows": None}}, "the field 'rows' is null; it must be an integer"),
            ({"header": {"recipe": [1]}}, "the field 'recipe' is a list; it must be an object"),
            ({"header": {"labels": 3}}, "the field 'labels' is an integer .3.; it must be a string"),
            ({"query": np.zeros((2, 3), int)}, r"damaged: query is \[2, 3\]"),
            ({"query": np.full((4, 8), 480)}, "damaged: it has row 480 of a dataset of 480 rows"),
            ({"targets": np.full((4, 8), 2)}, "damaged: query has classes beyond the 2"),
            ({"ids": np.arange(3)}, "damaged"),
        ],
    )
    def test_damage_is_named(self, tmp_path: Path, change: dict[str, Any], message: str) -> None:
        path = tmp_path / "episodes.npz"
        save_episodes(EpisodeSampler(LABELS, 2, 1, 4), path, labels=LABELS, episodes=4)
        with np.load(path) as file:
            held: dict[str, Any] = dict(file)
        [(field, value)] = change.items()
        if isinstance(value, dict):
            value = json.dumps({**json.loads(held["header"].tobytes()), **value}).encode()
        held[field] = np.frombuffer(value, np.uint8) if isinstance(value, bytes) else value
        np.savez(path, **{name: array for name, array in held.items() if array is not None})
        with pytest.raises(ValueError, match=message):
            ManifestSampler(path, LABELS)


class TestTaskLabel:
    """What tables call the task of a sampler, one just made or a result stored long ago."""

    def test_what_varies_is_said(self, tmp_path: Path) -> None:
        variable, fixed = MADE["variable"](), EpisodeSampler(UNEQUAL, 4, 2, 8)
        assert variable.task_label == "3- to 7-way variable-shot"
        assert fixed.task_label == "4-way 2-shot"
        for sampler in (variable, fixed):
            save_episodes(sampler, tmp_path / "episodes.npz", labels=UNEQUAL, episodes=3)
            assert ManifestSampler(tmp_path / "episodes.npz", UNEQUAL).task_label == sampler.task_label
        assert task_label({"sampler": "mine"}) == "variable-way variable-shot"

    def test_tables_print_it(self, tmp_path: Path) -> None:
        source = TensorSource(torch.eye(9)[torch.from_numpy(UNEQUAL)], torch.from_numpy(UNEQUAL))
        sampler = MADE["variable"]()
        save_episodes(sampler, tmp_path / "episodes.npz", labels=UNEQUAL, episodes=9)
        for drawn in (sampler, ManifestSampler(tmp_path / "episodes.npz", UNEQUAL)):
            results = evaluate("prototypes", source, drawn, episodes=9, progress=False)
            assert "3- to 7-way variable-shot" in str(results)

    def test_results_of_earlier_versions(self) -> None:
        old = {"sampler": "variable", "way": 50, "shot": 1, "query": 10, "least_way": 5, "most_support": 500}
        assert task_label(old) == "5- to 50-way variable-shot"
        assert task_label({"sampler": "manifest", "way": 50, "of": old}) == "5- to 50-way variable-shot"

    def test_tables_say_from_how_many_classes(self) -> None:
        source = TensorSource(torch.eye(9)[torch.from_numpy(UNEQUAL)], torch.from_numpy(UNEQUAL))
        results = Results()
        for shot in (1, 20):
            sampler = EpisodeSampler(UNEQUAL, 3, shot, 5)
            results += evaluate("prototypes", source, sampler, episodes=4, progress=False)
        text = str(results)
        assert "3-way 20-shot: episodes are drawn from 5 of 9 classes" in text
        assert "3-way 1-shot: episodes" not in text


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


GOLDEN = {"dirichlet": [[470, 475, 92, 99, 101, 95, 80, 148, 154, 147, 133, 125]]}


# Semi-supervised


def test_unlabelled_rows_are_of_the_episodes_classes_and_in_no_other_part() -> None:
    labels = np.repeat(np.arange(9), 40)
    sampler = SemiSupervisedSampler(labels, way=4, shot=2, query=5, seed=1, unlabelled=6)
    drawn = sampler.draw(0, 200)
    plain = EpisodeSampler(labels, way=4, shot=2, query=5, seed=1).draw(0, 200)
    for field in ("support", "labels", "query", "targets", "classes"):
        assert torch.equal(getattr(drawn, field), getattr(plain, field)), field
    assert drawn.unlabelled is not None and drawn.unlabelled.shape == (200, 24)
    classes = torch.from_numpy(labels)[drawn.unlabelled].view(200, 4, 6)
    assert torch.equal(classes, drawn.classes[:, :, None].expand(-1, -1, 6))
    everything = drawn.rows.sort(1).values
    assert (everything[:, 1:] != everything[:, :-1]).all()
    assert torch.equal(sampler.draw(50, 7).unlabelled, drawn.unlabelled[50:57])


def test_distractors_are_of_other_classes() -> None:
    labels = torch.arange(12).repeat_interleave(20)
    drawn = SemiSupervisedSampler(labels, way=5, shot=1, query=5, unlabelled=4, distractors=3).draw(0, 300)
    assert drawn.unlabelled is not None
    strange = labels[drawn.unlabelled[:, 20:]]  # [E, 12]
    assert not (strange[:, :, None] == drawn.classes[:, None, :]).any()
    assert all(len(set(row.tolist())) == 3 for row in strange)
    with pytest.raises(ValueError, match="distractors=8"):
        SemiSupervisedSampler(labels, way=5, shot=1, query=5, unlabelled=4, distractors=8)
    with pytest.raises(ValueError, match="at least 1"):
        SemiSupervisedSampler(labels, unlabelled=0)


def test_unlabelled_rows_help_a_learner_that_uses_them() -> None:
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(10, 16, generator=generator).repeat_interleave(60, 0)
    source = TensorSource(
        centres + 1.6 * torch.randn(600, 16, generator=generator), torch.arange(10).repeat_interleave(60)
    )
    learner = "soft-kmeans(queries=False)"
    scores = []
    for sampler in (
        EpisodeSampler(source.labels, way=5, shot=1, query=10),
        SemiSupervisedSampler(source.labels, way=5, shot=1, query=10, unlabelled=20),
    ):
        scores.append(evaluate(learner, source, sampler, episodes=300, progress=False)[learner].mean)
    assert scores[1] > scores[0] + 0.03


def test_a_manifest_keeps_unlabelled_rows(tmp_path: Path) -> None:
    sampler = SemiSupervisedSampler(LABELS, 3, 1, 4, unlabelled=3, distractors=1)
    save_episodes(sampler, tmp_path / "episodes.npz", labels=LABELS, episodes=20)
    replayed = ManifestSampler(tmp_path / "episodes.npz", LABELS).draw(5, 10)
    assert torch.equal(replayed.rows, sampler.draw(5, 10).rows) and replayed.unlabelled is not None
