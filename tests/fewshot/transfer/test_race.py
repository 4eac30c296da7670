"""The race of candidates and its budget of time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from advice_examples import conv4
from torch import Tensor

from episodes import TensorSource
from fewshot.transfer.candidate import Candidate, Cost, Setting
from fewshot.transfer.candidates import Tunes
from fewshot.transfer.folds import Folds, Store
from fewshot.transfer.outlook import Outlook
from fewshot.transfer.race import Race
from fewshot.transfer.race_entry import Clock


class Fake(Candidate):
    """Answers a share of rows right, at a price for each row that it learns from."""

    seconds_passed = 0.0  # on the clock of `made_up_time`

    def __init__(self, name: str, right: float, price: float = 0.0, kind: str = "transfer", halt: int = 99) -> None:
        self.encoder, self.spec, self.strategy, self.kind = name, name, "fake", kind
        self.right, self.price, self.halt, self.asked = right, price, halt, 0
        self.learned: list[int] = []

    def identity(self) -> str:
        return self.encoder

    def measure(self, few: Any, how: Setting) -> Cost:
        return Cost(0.0, (), self.price, 1)

    def seconds(self, cost: Cost, train: int, test: int, how: Setting) -> float:
        return cost.forward * train

    def answers(self, source: Any, train: Tensor, test: Tensor, how: Setting) -> Tensor:
        self.asked += 1
        if self.asked > self.halt:
            raise KeyboardInterrupt
        self.learned.append(len(train))
        Fake.seconds_passed += self.price * len(train)
        labels = source.labels[test]
        wrong = torch.arange(len(test)) % 100 >= 100 * self.right
        return torch.where(wrong, (labels + 1) % len(source.class_names), labels)

    def recipe(self) -> str:
        return self.encoder


def raced(candidates: Sequence[Candidate], rows: int = 300, minutes: float = 1e6, out: Any = None) -> Race:
    source = TensorSource(torch.zeros(rows, 2), torch.arange(rows) % 3)
    race = Race(candidates, Store(Folds(source), Setting(), out), Clock(minutes), {}, progress=False)
    race.run()
    return race


@pytest.fixture
def made_up_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.perf_counter", lambda: Fake.seconds_passed)


@pytest.mark.usefixtures("made_up_time")
def test_the_better_half_goes_on_and_the_best_leads() -> None:
    made = [Fake(f"at {right}", right, 1.0) for right in (0.1, 0.55, 0.53, 0.54)]
    race = raced(made, minutes=1190 / 60)  # a fold of 240 rows would take too large a share of these seconds
    by_name = {entry.candidate.encoder: entry for entry in race.entries}
    assert race.sizes[0] < race.store.folds.largest
    assert race.sizes == sorted(race.sizes)
    assert "clearly worse" in by_name["at 0.1"].status
    assert by_name["at 0.1"].size == race.sizes[0]
    assert race.sizes[-1] == race.store.folds.largest
    assert by_name["at 0.53"].status == f"not among the better half at {race.sizes[0]} rows a class"
    choice = race.standings.choice()
    assert choice is not None
    assert choice.candidate.encoder == "at 0.55"


def test_all_folds_are_run_where_there_is_time() -> None:
    race = raced([Fake("one", 0.7), Fake("two", 0.6)], rows=60)
    assert race.sizes == [race.store.folds.largest]
    assert all(len(entry.parts[race.sizes[0]]) == 5 for entry in race.entries)
    assert len(race.joined(race.entries[0], race.sizes[0]).scores) == 60


def test_nothing_is_started_that_cannot_end_within_the_budget() -> None:
    dear = Fake("dear", 1.0, price=1e9)
    race = raced([Fake("cheap", 0.5), dear], minutes=10)
    assert dear.asked == 0
    status = next(entry.status for entry in race.entries if entry.candidate is dear)
    assert status.startswith("no time left: a fold of")


@pytest.mark.usefixtures("made_up_time")
def test_the_budget_is_kept() -> None:
    began = Fake.seconds_passed
    made = [Fake("one", 0.7, 1.0), Fake("two", 0.71, 3.0)]
    race = raced(made, minutes=1000 / 60)
    assert 300 < Fake.seconds_passed - began <= 1000
    assert all(entry.parts for entry in race.entries)
    assert len(race.sizes) == 1


def test_an_interrupted_race_reports_what_is_known_and_resumes(tmp_path: Path) -> None:
    out = tmp_path / "folds.jsonl"
    first = raced([Fake("one", 0.7, halt=3), Fake("two", 0.6)], rows=60, out=out)
    assert first.interrupted
    assert sum(len(parts) for entry in first.entries for parts in entry.parts.values()) >= 6
    again = [Fake("one", 0.7), Fake("two", 0.6)]
    second = raced(again, rows=60, out=out)
    assert not second.interrupted
    assert sum(one.asked for one in again) == 10 - sum(len(p) for e in first.entries for p in e.parts.values())
    third = [Fake("one", 0.7), Fake("two", 0.6)]
    last = raced(third, rows=60, out=out)
    assert sum(one.asked for one in third) == 0
    size = last.sizes[-1]
    assert all(np.array_equal(last.joined(a, size).scores, second.joined(b, size).scores)
               for a, b in zip(last.entries, second.entries, strict=True))  # fmt: skip


def test_what_a_file_has_counts_also_where_no_time_is_left(tmp_path: Path) -> None:
    out = tmp_path / "folds.jsonl"
    first = raced([Fake("one", 0.7), Fake("two", 0.6, halt=2), Fake("three", 0.5, halt=0)], rows=60, out=out)
    again = [Fake("one", 0.7), Fake("two", 0.6), Fake("three", 0.5)]
    race = raced(again, rows=60, minutes=1e-9, out=out)  # even a trial would take too long
    assert not any(one.asked for one in again)
    size = race.store.folds.largest
    held = [len(entry.parts.get(size, [])) for entry in race.entries]
    assert held == [len(entry.parts.get(size, [])) for entry in first.entries] and held[0] > 0
    choice = race.standings.choice()
    assert choice is not None and choice.candidate.encoder == "one"
    for entry, count in zip(race.entries, held, strict=True):
        assert (entry.status == "in") == (count == 5) and (not count or "not tried" not in entry.status)


def test_an_interruption_is_not_taken_for_a_lack_of_time(tmp_path: Path) -> None:
    out = tmp_path / "folds.jsonl"
    raced([Fake("one", 0.7, halt=2), Fake("two", 0.6)], rows=60, out=out)
    stopped = [Fake("three", 0.5, halt=0), Fake("one", 0.7), Fake("two", 0.6)]
    race = raced(stopped, rows=60, out=out)
    assert race.interrupted and race.entries[1].parts and not race.entries[0].parts
    assert [entry.status for entry in race.entries] == ["in", "in", "in"]


@pytest.mark.usefixtures("made_up_time")
def test_small_episodes_of_a_file_are_found_as_well(tmp_path: Path) -> None:
    def made() -> list[Candidate]:
        return [Fake(f"at {right}", right, 1.0) for right in (0.1, 0.55, 0.53, 0.54)]

    first = raced(made(), minutes=1190 / 60, out=tmp_path / "folds.jsonl")
    second = raced(made(), minutes=0, out=tmp_path / "folds.jsonl")
    assert len(first.sizes) > 1 and second.sizes == first.sizes
    for one, other in zip(first.entries, second.entries, strict=True):
        assert {size: len(parts) for size, parts in one.parts.items()} == {
            size: len(parts) for size, parts in other.parts.items()
        }


def test_no_more_than_all_is_expected() -> None:
    """A normal distribution of accuracies knows no bounds, but a table of percentages does."""
    from fewshot.transfer.advising import _ranked

    race = raced([Fake("frozen", 0.99), Fake("tuned", 1.0)], rows=300)
    race.entries[0].candidate.anchor = True  # type: ignore[misc]
    assert race.standings.outlook(race.entries[1]).mean > 0.98
    race.standings.outlook = lambda entry: Outlook(1.001, 0.1)  # type: ignore[method-assign]
    assert all(option.expected == 1.0 for option in _ranked(race, race.entries[1], race.entries))


def test_predicted_cost_counts_updates() -> None:
    how = Setting(epochs=4)
    candidate = Tunes(conv4(), "linear-probe | full(epochs=2)")
    cost = Cost(1.0, (0.5, 2.0), 0.01, 9)
    # 100 rows: 4 updates of 32 an epoch
    assert candidate.seconds(cost, 100, 20, how) == pytest.approx(1 + 1.2 + 4 * 4 * 0.5 + 2 * 4 * 2.0)
