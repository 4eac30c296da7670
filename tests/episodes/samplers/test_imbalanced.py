"""Queries in Dirichlet proportions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sampler_examples import LABELS

from episodes import DirichletSampler, EpisodeSampler
from episodes.samplers.imbalanced import gammas, round_to

GOLDEN = {"dirichlet": [[470, 475, 92, 99, 101, 95, 80, 148, 154, 147, 133, 125]]}


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
