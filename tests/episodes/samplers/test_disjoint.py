"""`DisjointSampler`: no row twice, and intervals that cover the data as well."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from episodes import DisjointSampler, EpisodeSampler, TensorSource, evaluate
from episodes.statistics import mean_interval

LABELS = np.repeat(np.arange(6), [40, 60, 25, 33, 60, 9])


def test_no_row_is_used_twice() -> None:
    sampler = DisjointSampler(LABELS, way=3, shot=2, query=4, seed=1)
    drawn = sampler.draw(0, sampler.available)
    rows = drawn.rows.flatten()
    assert len(rows.unique()) == len(rows)
    truth = torch.from_numpy(LABELS)
    assert torch.equal(truth[drawn.support], drawn.classes.gather(1, drawn.labels))
    assert torch.equal(truth[drawn.query], drawn.classes.gather(1, drawn.targets))
    assert all(len(row.unique()) == 3 for row in drawn.classes)


def test_as_many_episodes_as_the_rows_allow() -> None:
    assert DisjointSampler(np.repeat(np.arange(10), 60), way=5, shot=5, query=15).available == 6
    assert DisjointSampler(np.repeat(np.arange(5), [100, 20, 20, 20, 20]), way=5, shot=5, query=15).available == 1
    uneven = DisjointSampler(np.repeat([0, 1, 2], [30, 20, 10]), way=2, shot=1, query=4)
    assert uneven.available == 6  # 6 + 4 + 2 packs in pairs of different classes


def test_an_episode_depends_on_seed_and_number_only() -> None:
    make = lambda seed: DisjointSampler(LABELS, way=3, shot=2, query=4, seed=seed)  # noqa: E731
    whole = make(1).draw(0, 8)
    assert torch.equal(make(1).draw(5, 2).rows, whole.rows[5:7])
    assert not torch.equal(make(2).draw(0, 8).rows, whole.rows)


def test_too_many_episodes_say_how_many_there_are() -> None:
    sampler = DisjointSampler(LABELS, way=3, shot=2, query=4, name="birds")
    with pytest.raises(ValueError, match=rf"only {sampler.available} disjoint 3-way 2-shot episodes"):
        sampler.draw(0, sampler.available + 1)
    source = TensorSource(np.zeros((len(LABELS), 2)), LABELS)
    with pytest.raises(ValueError, match=rf"has {sampler.available}; ask for at most that many"):
        evaluate("prototypes", source, sampler, episodes=10_000)


def test_the_result_says_which_interval_it_prints() -> None:
    rows = np.random.default_rng(0).normal(size=(len(LABELS), 3))
    sampler = DisjointSampler(LABELS, way=3, shot=1, query=4)
    result = evaluate("prototypes", TensorSource(rows, LABELS), sampler, episodes=sampler.available)["prototypes"]
    assert result.interval == "disjoint"
    assert "disjoint episodes" in str(result)


def test_only_disjoint_episodes_cover_the_population() -> None:
    """Small datasets drawn from a known population: which interval contains the population's accuracy?"""
    random = np.random.default_rng(0)
    way, per_class, features = 5, 40, 8
    centres = random.normal(size=(way, features)) * 1.1
    labels = np.repeat(np.arange(way), per_class)

    def dataset(rows: int) -> np.ndarray:
        return np.repeat(centres, rows, 0) + random.normal(size=(way * rows, features))

    def scores(rows: np.ndarray, sampler: EpisodeSampler, episodes: int) -> np.ndarray:
        named = np.repeat(np.arange(way), len(rows) // way)
        return evaluate("prototypes", TensorSource(rows, named), sampler, episodes=episodes)["prototypes"].scores

    large = np.repeat(np.arange(way), 4000)
    truth = scores(dataset(4000), EpisodeSampler(large, way, 1, 4), 20_000).mean()
    covered = {"disjoint": 0, "episodes": 0}
    for _ in range(150):
        rows = dataset(per_class)
        for kind, sampler, episodes in (
            ("disjoint", DisjointSampler(labels, way, 1, 4), 8),
            ("episodes", EpisodeSampler(labels, way, 1, 4), 1500),
        ):
            found = scores(rows, sampler, episodes)
            covered[kind] += abs(found.mean() - truth) <= mean_interval(found)
    assert covered["disjoint"] / 150 > 0.88
    assert covered["episodes"] / 150 < 0.6
