"""Outlooks: priors, updates and values against numerical integration, and what the race makes of them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from episodes import TensorSource
from fewshot.transfer.candidate import Candidate, Cost, Setting
from fewshot.transfer.expected_gain import FEW, GAINS, MANY, expected, expected_from_scratch
from fewshot.transfer.folds import Folds, Store
from fewshot.transfer.outlook import Outlook, seen
from fewshot.transfer.race import Race
from fewshot.transfer.race_entry import Clock
from fewshot.transfer.strategies import load_strategies

GRID = np.linspace(-3, 4, 20001)


def density(mean: float, sd: float) -> np.ndarray:
    return np.exp(-0.5 * ((GRID - mean) / sd) ** 2)


def test_updated_is_the_posterior() -> None:
    found = Outlook(0.7, 0.1).updated(0.8, 0.05)
    weights = density(0.7, 0.1) * density(0.8, 0.05)
    mean = (GRID * weights).sum() / weights.sum()
    assert found.mean == pytest.approx(mean, abs=1e-6)
    assert found.sd == pytest.approx(math.sqrt(((GRID - mean) ** 2 * weights).sum() / weights.sum()), abs=1e-6)


@pytest.mark.parametrize(("mean", "best"), [(0.7, 0.7), (0.6, 0.75), (0.8, 0.75)])
def test_value_is_the_expected_gain_of_the_choice(mean: float, best: float) -> None:
    before, rows = Outlook(mean, 0.1), 40
    after = (before.sd**-2 + rows / 0.15) ** -0.5  # 0.15: variance of a difference of two answers
    weights = density(mean, math.sqrt(before.sd**2 - after**2))  # of where the mean may come to lie
    gain = (np.maximum(GRID, best) * weights).sum() / weights.sum() - max(mean, best)
    assert before.value(best, rows) == pytest.approx(gain, abs=1e-6)
    assert before.value(best, 0) == 0
    assert before.value(best, 400) > before.value(best, 4)


def test_seen_counts_four_rows_more_than_there_are() -> None:
    own, other = np.array([1.0, 1, 0, 1, 1, 0]), np.array([1.0, 0, 0, 0, 1, 1])
    mean, error = seen(own, other)
    spread = (sum((a - b - mean) ** 2 for a, b in zip(own, other, strict=True)) + 4 * 0.15) / 10
    assert mean == pytest.approx(1 / 6)
    assert error == pytest.approx(math.sqrt(spread / 6))
    same = seen(own, own)
    assert same[0] == 0
    assert same[1] > 0  # six equal answers are no proof
    assert seen(own, other, doublings=2)[1] > error


def test_expected_gains_go_with_the_logarithm_of_the_rows() -> None:
    few, many = GAINS["full"]
    for rows, share in ((1, few), (FEW, few), (math.sqrt(FEW * MANY), (few + many) / 2), (MANY, many), (1000, many)):
        assert expected(load_strategies("full"), 0.6, rows).mean == pytest.approx(0.6 + 0.4 * share)
    assert expected(load_strategies("lp-ft"), 0.6, FEW).mean == pytest.approx(0.6 + 0.4 * GAINS["lp-ft"][0])
    assert expected(load_strategies("last(1)"), 0.6, FEW).mean == pytest.approx(0.6 + 0.4 * GAINS["last(1)"][0])
    assert expected(load_strategies("last(3)"), 0.6, FEW).mean == pytest.approx(0.6 + 0.4 * GAINS["last"][0])
    assert expected(load_strategies("full"), 1.0, FEW).sd > 0
    assert expected(load_strategies("full"), None, FEW).sd == 0.5
    assert expected_from_scratch(0.3).mean == 0.3
    assert expected_from_scratch(None).sd == 0.5


class Known(Candidate):
    """Answers the rows of a list right; what is expected of it is given."""

    def __init__(self, name: str, right: np.ndarray, outlook: Outlook | None = None, price: float = 0.0) -> None:
        self.encoder, self.spec, self.strategy, self.anchor = name, name, "known", outlook is None
        self.right, self.own, self.price, self.asked = right, outlook or Outlook(0.5, 0.5), price, 0

    def outlook(self, frozen: float | None, trivial: float | None, rows: float) -> Outlook:
        return self.own

    def measure(self, few: Any, how: Setting) -> Cost:
        return Cost(self.price, (), 0.0, 1)

    def answers(self, source: Any, train: Tensor, test: Tensor, how: Setting) -> Tensor:
        self.asked += 1
        labels = source.labels[test]
        right = torch.from_numpy(self.right)[source.features[test, 0].long()]
        return torch.where(right, labels, (labels + 1) % len(source.class_names))

    def recipe(self) -> str:
        return self.encoder


def raced(rows: int, *candidates: Candidate) -> Race:
    source = TensorSource(torch.arange(rows)[:, None].float(), torch.arange(rows) % 2)
    race = Race(candidates, Store(Folds(source), Setting()), Clock(60), {}, progress=False)
    race.run()
    return race


@pytest.mark.parametrize(("rows", "leads"), [(20, "usual"), (2000, "lucky")])
def test_few_rows_leave_the_lead_to_what_led_elsewhere(rows: int, leads: str) -> None:
    place = np.arange(rows) % 20
    base, lucky, usual = place < 14, place < 16, place < 14  # 70, 80 and 70 % right
    made = [Known("base", base), Known("lucky", lucky, Outlook(0.68, 0.04)), Known("usual", usual, Outlook(0.76, 0.04))]
    choice = raced(rows, *made).standings.choice()
    assert choice is not None
    assert choice.candidate.encoder == leads


def test_what_is_unlikely_to_lead_is_not_begun() -> None:
    place = np.arange(200) % 10
    weak = Known("weak", place < 9, Outlook(0.3, 0.05))
    race = raced(200, Known("base", place < 8), Known("rival", place < 8, Outlook(0.82, 0.05)), weak)
    assert weak.asked == 0
    assert [entry.status for entry in race.entries if entry.candidate is weak] == [
        "not tried: unlikely to lead, expected at about 30 %"
    ]
    assert all(len(entry.parts[race.sizes[-1]]) == 5 for entry in race.entries if entry.candidate is not weak)
