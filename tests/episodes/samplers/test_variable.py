"""Ways and shots that vary from episode to episode."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sampler_examples import UNEQUAL

from episodes import VariableSampler


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
