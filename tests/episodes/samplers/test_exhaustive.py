"""Every episode that there is."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from episodes import ExhaustiveSampler


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
