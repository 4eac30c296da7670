"""Settings: who has which, what `evaluate` shows to whom, and how results of several settings are told apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from episodes import (
    CrossDomainSampler,
    Episode,
    EpisodeSampler,
    Result,
    Results,
    SemiSupervisedSampler,
    TensorSource,
    compare,
    evaluate,
)
from episodes.setting import SETTINGS, setting_of
from fewshot import Learner, load_learner
from fewshot.adaptation import DomainAdapter
from fewshot.learners import LEARNERS
from fewshot.transfer.alignment import list_alignments, load_alignment
from fewshot.transfer.source_free import list_methods, load_method
from fewshot.transforms import list_transforms, load_transform

ADAPTERS = [name for name in list_transforms() if isinstance(load_transform(name), DomainAdapter)]


def rows(shift: float = 0.0) -> TensorSource:
    g = torch.Generator().manual_seed(0)
    labels = torch.arange(120) % 4
    features = 3 * torch.randn(4, 5, generator=g)[labels] + torch.randn(120, 5, generator=g)
    features[60:, 0] += shift
    return TensorSource(features, labels, name="rows")


class Looks(Learner):
    """Answers by whether there are unlabelled rows."""

    name = "looks"

    def adapt(self, episode: Episode) -> Tensor:
        seen = 0 if episode.unlabelled is None else episode.unlabelled.shape[1]
        return torch.full((len(episode), episode.way), float(seen)).cumsum(1)

    def predict(self, state: Tensor, query: Tensor) -> Tensor:
        return state.unsqueeze(1).expand(-1, query.shape[1], -1)


class Claims(Looks):
    setting = "semi-supervised"
    needs = ("support", "unlabelled")


@pytest.mark.parametrize(
    ("spec", "setting"),
    [
        ("prototypes", "inductive"), ("l2 | logistic", "inductive"), ("zero-shot", "inductive"),
        ("tim", "transductive"), ("soft-kmeans", "transductive"), ("l2 | label-propagation", "transductive"),
        ("soft-kmeans(queries=False)", "semi-supervised"), ("coral | logistic", "domain-adaptation"),
        ("l2 | tca | nearest", "domain-adaptation"),
    ],
)  # fmt: skip
def test_settings_of_learners(spec: str, setting: str) -> None:
    assert load_learner(spec).setting == setting == setting_of(load_learner(spec))


def test_every_method_has_a_setting() -> None:
    for name in LEARNERS.names():
        try:
            learner = LEARNERS.get(name)()
        except TypeError:  # it needs arguments
            continue
        assert setting_of(learner) in SETTINGS, name
    for spec in ADAPTERS:
        assert load_transform(spec).setting == "domain-adaptation"  # type: ignore[attr-defined]
    assert {load_alignment(name).setting for name in list_alignments()} == {"domain-adaptation"}
    assert {load_method(name).setting for name in list_methods()} == {"source-free"}
    assert setting_of(lambda episode: None) is None


def test_unlabelled_rows_are_shown_to_whom_they_are_for() -> None:
    source = rows()
    sampler = SemiSupervisedSampler(source.labels, way=3, shot=1, query=2, unlabelled=4)
    seen: list[Any] = []

    def plain(episode: Episode) -> Tensor:
        seen.append(episode.unlabelled)
        return torch.zeros(len(episode), episode.query.shape[1], episode.way)

    found = evaluate({"inductive": Looks(), "claims": Claims(), "plain": plain}, source, sampler, episodes=4,
                     progress=False, keep_predictions=True)  # fmt: skip
    first = {name: found[name].predictions.confidence for name in ("inductive", "claims")}
    np.testing.assert_allclose(first["inductive"], 1 / 3, rtol=1e-5)  # it saw none
    assert (first["claims"] > 0.9).all()
    assert seen[0] is not None, "a function that says nothing of itself is given all that there is"
    assert [found[name].setting for name in ("inductive", "claims", "plain")] == ["inductive", "semi-supervised", None]


@pytest.mark.parametrize(
    ("declared", "transductive", "needs", "words"),
    [
        ("telepathic", False, ("support",), "setting='telepathic' .* must be one of inductive, semi-supervised"),
        ("inductive", True, ("support",), "is transductive, but its setting is 'inductive', which sees each query alone"),
        ("inductive", False, ("support", "unlabelled"), "needs unlabelled rows, but its setting is 'inductive'"),
    ],
)  # fmt: skip
def test_evaluate_refuses_a_method_that_contradicts_its_setting(
    declared: str, transductive: bool, needs: tuple[str, ...], words: str
) -> None:
    learner = Looks()
    kind = type("Odd", (Looks,), {"setting": declared, "transductive": transductive, "needs": needs})
    source = rows()
    sampler = EpisodeSampler(source.labels, way=3, shot=1, query=2)
    evaluate(learner, source, sampler, episodes=1, progress=False)
    with pytest.raises(ValueError, match=words):
        evaluate(kind(), source, sampler, episodes=1, progress=False)


def test_tables_and_comparisons_say_who_saw_more(tmp_path: Path) -> None:
    source = rows()
    sampler = EpisodeSampler(source.labels, way=3, shot=1, query=5)
    out = tmp_path / "runs.jsonl"
    found = evaluate(["prototypes", "ridge", "soft-kmeans"], source, sampler, episodes=30, progress=False, out=out)
    read = Results.load(out)
    for results in (found, read):
        assert "settings: transductive: soft-kmeans; the others are inductive" in str(results)
        mixed = compare(results["soft-kmeans"], results["ridge"])
        assert "soft-kmeans - ridge (transductive against inductive) = " in str(mixed)
        assert mixed.to_json()["settings"] == ["transductive", "inductive"]
        same = compare(results["prototypes"], results["ridge"])
        assert same.settings is None and "inductive" not in str(same)
    assert "settings:" not in str(Results([found["prototypes"], found["ridge"]]))
    old = Result("old", found["ridge"].recipe, found["ridge"].scores, 15)  # results of a former release say nothing
    assert old.setting is None and compare(old, found["soft-kmeans"]).settings is None


@pytest.mark.parametrize("spec", ["tim", "soft-kmeans", "label-propagation", "pt-map", "laplacian-shot", "bd-cspn",
                                  "transductive-finetune", *(f"{name} | logistic" for name in ADAPTERS)])  # fmt: skip
def test_target_labels_can_be_reached_by_no_transductive_method(spec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a method is given holds the very same whatever the query labels are, and nothing that leads to them."""
    source, domains = rows(2.0), (torch.arange(120) >= 60).long()
    learner = load_learner(spec)
    sampler = CrossDomainSampler(source.labels, domains, way=4, shot=5, query=4, unlabelled=3)
    drawn = sampler.draw(0, 2)
    episode, targets = drawn.episode(source[drawn.rows], None)
    for name, value in vars(episode).items():
        if isinstance(value, Tensor):
            assert value.untyped_storage().data_ptr() != targets.untyped_storage().data_ptr(), name
            assert not (value.shape == targets.shape and torch.equal(value.to(targets), targets)), name
    monkeypatch.setattr(source, "labels", None)
    order = torch.randperm(targets.shape[1], generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        first = learner(episode)
        targets[0].copy_(targets[0].roll(5))  # in place: whoever kept a way to them would now answer otherwise
        assert torch.equal(first, learner(episode))
        # Queries are drawn class by class, so their order would tell their labels.
        moved = learner(episode.replace(query=episode.query[:, order]))
    torch.testing.assert_close(moved, first[:, order], rtol=1e-3, atol=1e-3)
