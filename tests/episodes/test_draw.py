"""`Draw`: the one place where indices become an episode and its targets, for all who need one."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sampler_examples import MADE, labels_of
from sampler_examples import UNEQUAL as LABELS
from torch.utils.data import DataLoader, TensorDataset

from episodes import (
    DirichletSampler,
    DisjointSampler,
    Draw,
    EpisodeSampler,
    ExhaustiveSampler,
    ManifestSampler,
    TensorSource,
    VariableSampler,
    evaluate,
    save_episodes,
)
from episodes.draw import OPEN, PADDING
from episodes.episode import Episode

ALL = {
    **MADE,
    "fixed": lambda: EpisodeSampler(LABELS, 3, 2, 4, seed=3),
    "disjoint": lambda: DisjointSampler(LABELS, 3, 1, 2, seed=3),
}


def source_of(labels: np.ndarray) -> TensorSource:
    """Rows that tell class and number: one-hot, and the index in a last column."""
    rows = torch.cat([torch.eye(9)[torch.from_numpy(labels)], torch.arange(len(labels))[:, None]], 1)
    return TensorSource(rows, torch.from_numpy(labels))


def perfect(episode: Episode) -> torch.Tensor:
    """Right wherever a query's class is in the support."""
    centres = episode.one_hot.mT @ episode.support[..., :9]
    return episode.query[..., :9] @ centres.mT


class TestAssembly:
    @pytest.mark.parametrize("name", ALL)
    def test_rows_and_targets_are_those_drawn(self, name: str) -> None:
        sampler = ALL[name]()
        source, drawn = source_of(labels_of(sampler)), sampler.draw(3, 9)
        text = torch.arange(9.0)[:, None]
        seen = []
        for places, part in drawn.groups():
            episode, targets = part.episode(source, text)
            assert torch.equal(episode.support, source[drawn.support[places]])
            assert torch.equal(episode.labels, drawn.labels[places])
            assert torch.equal(episode.ids, drawn.ids[places])
            assert torch.equal(episode.text[..., 0], drawn.classes[places].clamp(min=0).float())
            assert (episode.unlabelled is None) == (drawn.unlabelled is None)
            for e, place in enumerate(places.tolist()):
                real = drawn.targets[place] != PADDING
                assert torch.equal(episode.query[e], source[drawn.query[place][real]])
                assert torch.equal(targets[e], drawn.targets[place][real])
            seen += places.tolist()
        assert sorted(seen) == list(range(9))

    def test_padding_never_becomes_a_query(self) -> None:
        drawn = MADE["variable"]().draw(0, 20)
        with pytest.raises(ValueError, match=r"a learner would see the padding.*draw.groups\(\)"):
            drawn.episode(source_of(LABELS))
        short = int((drawn.targets != PADDING).sum(1).argmin())
        alone = drawn.alone(short)
        assert PADDING not in alone.labels and PADDING not in alone.targets
        episode, targets = alone.episode(source_of(LABELS))
        assert torch.equal(targets[0], drawn.targets[short][drawn.targets[short] != PADDING])
        assert episode.query.shape[1] == targets.shape[1] < drawn.query.shape[1]

    def test_rows_that_do_not_belong_are_refused(self) -> None:
        drawn = ALL["fixed"]().draw(0, 2)
        with pytest.raises(ValueError, match=r"rows are \[2, 20, 4\]; they must be .* beginning with \[2, 18\]"):
            drawn.episode(torch.zeros(2, 20, 4))

    def test_text_of_too_few_classes_is_refused(self) -> None:
        with pytest.raises(ValueError, match=r"text has 1 rows, but class \d is in an episode"):
            ALL["fixed"]().draw(0, 9).episode(source_of(LABELS), torch.zeros(1, 4))

    def test_episodes_that_are_alike_take_no_memory(self) -> None:
        drawn = EpisodeSampler(LABELS, 3, 2, 4).draw(0, 3000)
        assert drawn.labels.stride(0) == drawn.targets.stride(0) == 0 and len(drawn.labels) == 3000
        assert isinstance(drawn, Draw) and torch.equal(drawn[10:12].rows, drawn.rows[10:12])


class TestEvaluate:
    @pytest.mark.parametrize("name", ["exhaustive", "variable"])
    def test_learners_see_no_padding(self, name: str) -> None:
        sampler = ALL[name]()
        source = source_of(labels_of(sampler))
        shown: dict[int, list[float]] = {}

        def spy(episode: Episode) -> torch.Tensor:
            for number, query in zip(episode.ids.tolist(), episode.query, strict=True):
                shown[number] = query[:, -1].tolist()
            return perfect(episode)

        result = evaluate({"spy": spy}, source, sampler, episodes=60, progress=False)["spy"]
        assert (result.scores == 1).all()
        drawn = sampler.draw(0, 60)
        assert len({len(rows) for rows in shown.values()}) > 1
        for e in range(60):
            assert shown[e] == drawn.query[e][drawn.targets[e] != PADDING].tolist()

    def test_scores_are_those_of_each_episode_by_itself(self) -> None:
        source = source_of(LABELS)
        source.features[:, -1] = torch.rand(len(LABELS), generator=torch.Generator().manual_seed(0)) * 4
        sampler = ALL["variable"]()

        def crowd(episode: Episode) -> torch.Tensor:
            """Depends on all queries: what is near the median of the last column is of way 0."""
            last = episode.query[..., -1]
            near = (last - last.median(1, keepdim=True).values).abs() < 1
            return near.unsqueeze(-1) * torch.eye(episode.way)[0] + 0.1 * perfect(episode)

        expected = []
        for e in range(40):
            episode, targets = sampler.draw(e, 1).alone().episode(source)
            expected.append(float((crowd(episode).argmax(-1) == targets).float().mean()))
        for chunk in (None, 3):
            found = evaluate({"c": crowd}, source, sampler, episodes=40, chunk=chunk, progress=False)["c"]
            np.testing.assert_allclose(found.scores, expected)

    def test_a_longer_run_goes_on_from_a_shorter_one(self, tmp_path: Path) -> None:
        source, sampler, out = source_of(LABELS), ALL["variable"](), tmp_path / "r.jsonl"
        log = threading.local()  # what a learner notes there is no part of what it is
        log.numbers = []

        def learner(episode: Episode) -> torch.Tensor:
            log.numbers.extend(episode.ids.tolist())
            return perfect(episode) * (episode.query[..., -1:] % 3 > 0)

        whole = evaluate({"l": learner}, source, sampler, episodes=50, progress=False)["l"].scores
        evaluate({"l": learner}, source, sampler, episodes=20, out=out, progress=False)
        log.numbers.clear()
        found = evaluate({"l": learner}, source, sampler, episodes=50, out=out, progress=False)["l"].scores
        assert np.array_equal(found, whole) and sorted(log.numbers) == list(range(20, 50))


class TestDataLoader:
    """Batches are read by other processes, ahead of time and in any order; each must get its own targets."""

    @pytest.mark.parametrize("workers", [0, 2])
    @pytest.mark.parametrize("name", [*ALL, "manifest"])
    def test_every_sampler(self, name: str, workers: int, tmp_path: Path) -> None:
        if name == "manifest":
            save_episodes(ALL["variable"](), tmp_path / "e.npz", labels=LABELS, first=5, episodes=7)
            sampler: Any = ManifestSampler(tmp_path / "e.npz", LABELS)
        else:
            sampler = ALL[name]()
            sampler.episodes = 7
        source = source_of(labels_of(sampler))
        loader = DataLoader(
            sampler.dataset(TensorDataset(source.features, source.labels)), batch_sampler=sampler,
            collate_fn=sampler.collate, num_workers=workers,
        )  # fmt: skip
        batches = list(loader)
        assert len(batches) == len(sampler) == 7
        for number, (episode, targets) in enumerate(batches):
            drawn = sampler.draw(number, 1).alone()
            expected, answers = drawn.episode(source)
            assert torch.equal(targets, answers) and torch.equal(episode.ids, drawn.ids)
            for field in ("support", "labels", "query"):
                assert torch.equal(getattr(episode, field), getattr(expected, field)), field
            assert (episode.unlabelled is None) == (drawn.unlabelled is None)
            if drawn.unlabelled is not None:
                assert torch.equal(episode.unlabelled, expected.unlabelled)
            right = perfect(episode).argmax(-1) == targets
            assert right[targets != OPEN].all(), "a perfect learner is right"

    def test_items_that_do_not_say_where_they_are_from(self) -> None:
        source = source_of(LABELS)
        plain = TensorDataset(source.features, source.labels)
        for sampler in (EpisodeSampler(LABELS, 3, 2, 4, episodes=2), ALL["open-set"](), ALL["semi-supervised"]()):
            sampler.episodes = 2
            episode, targets = next(iter(DataLoader(plain, batch_sampler=sampler, collate_fn=sampler.collate)))
            expected, answers = sampler.draw(0, 1).episode(source)
            assert torch.equal(targets, answers) and torch.equal(episode.query, expected.query)
            assert episode.ids is None
        for sampler in (
            DirichletSampler(LABELS, 4, 2, 8, episodes=2),
            VariableSampler(LABELS, least_way=3, episodes=2),
        ):
            with pytest.raises(
                ValueError, match=r"do not say of which episode they are; read DataLoader\(sampler.data"
            ):
                next(iter(DataLoader(plain, batch_sampler=sampler, collate_fn=sampler.collate)))

    def test_items_of_other_episodes_are_refused(self) -> None:
        sampler, other = (DirichletSampler(LABELS, 4, 2, 8, seed=seed) for seed in (0, 1))
        dataset = sampler.dataset(TensorDataset(source_of(LABELS).features))
        first, second = (dataset.__getitems__(rows) for rows, _ in zip(sampler, range(2), strict=False))
        with pytest.raises(ValueError, match="not those of episode 0 of DirichletSampler"):
            other.collate(first)
        with pytest.raises(ValueError, match="not those of episode 0"):
            sampler.collate(first[::-1])
        with pytest.raises(ValueError, match="not those of one episode"):
            sampler.collate([*first[:5], *second[5:]])
        with pytest.raises(ValueError, match="give the DataLoader batch_sampler=sampler"):
            sampler.collate([dataset[3], dataset[4]])
        with pytest.raises(ValueError, match="no items to collate"):
            sampler.collate([])

    def test_rows_that_cannot_be_stacked_are_named(self) -> None:
        sampler = EpisodeSampler(LABELS, 2, 1, 1)
        with pytest.raises(ValueError, match=r"shapes \[\(2,\), \(3,\)\]; an episode needs rows of one shape"):
            sampler.collate([np.zeros(2), np.zeros(3), np.zeros(2), np.zeros(2)])
        with pytest.raises(ValueError, match="items are str, of which no tensor can be made"):
            sampler.collate(["a"] * 4)
        with pytest.raises(ValueError, match="3 items, but an episode of EpisodeSampler"):
            sampler.collate([np.zeros(2)] * 3)

    def test_pictures_become_floating_point_as_a_source_gives_them(self) -> None:
        sampler = EpisodeSampler(LABELS, 2, 1, 1)
        episode, _ = sampler.collate([torch.full((3, 4, 4), 51, dtype=torch.uint8)] * 4)
        assert episode.query.dtype == torch.float32 and episode.query.allclose(torch.tensor(0.2))


def test_exhaustive_covers_all_other_rows() -> None:
    sampler = ExhaustiveSampler(np.repeat(np.arange(3), [3, 5, 4]), 2, 1)
    sizes = {tuple(part.query.shape[1:]) for _, part in sampler.draw(0, sampler.available).groups()}
    assert sizes == {(6,), (5,), (7,)}
