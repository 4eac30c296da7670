"""A race of candidates within a budget: what could change the choice most, for the time it takes, is tried next."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress

import torch

from episodes.comparison import compare
from episodes.progress import progress_bar
from episodes.result import Result
from fewshot.transfer.candidate import Candidate
from fewshot.transfer.folds import Store
from fewshot.transfer.race_entry import Clock, Entry
from fewshot.transfer.standings import Standings

_LOG = logging.getLogger("fewshot")
_FAULTS = (ValueError, FloatingPointError, RuntimeError)  # of one candidate; the others go on
_ENOUGH = 60  # rows answered before the better half goes on to larger episodes
_FEWEST = 20  # rows answered before a candidate is dropped as clearly worse
_LEAST_SIZE = 5  # rows of each class of the smallest episodes
_FIRST = 0.2  # share of the time left that a fold of the costly candidate worth most may take
_CHEAP = 0.01  # of the budget: what costs no more runs all folds at once
_TRIAL_ROWS = 32
_WORTH = 5e-4  # accuracy that all folds of a candidate are expected to add at least, or it is not begun


class Race:
    """Candidates that answer the same folds of the user's rows, until the time is up or the folds are done.

    1. What costs next to nothing, such as logistic regression on frozen features, runs all folds.
    2. Of the others that one runs a fold next whose remaining folds are expected to improve the choice most for each
       second they take (`Standings.value`). A short trial tells what a step of it costs, and from this follows what a
       fold will; nothing is started that is predicted to end after the budget. Who is clearly worse than the leader
       on the same rows (95 % interval of the paired difference, at least 20 rows) is dropped, and who is so unlikely
       to lead that all its folds are expected to add less than 0.05 points is not begun.
    3. Episodes are as large as the folds, unless a fold of the costly candidate worth most for its time would take over
       20 % of it. Then they are halved until it does not; when 60 rows are answered the better half goes on to twice
       the size, while there is time (successive halving).

    Args:
        candidates: to be tried.
        store: of their results.
        clock: the budget.
        promise: accuracy on left-out rows by name of encoder.
        progress: show a bar.

    Attributes:
        entries: one for each candidate.
        standings: what they answered, and what is expected of each.
        interrupted: whether it was stopped from the keyboard.

    References: Frazier, Powell, Dayanik, "A knowledge-gradient policy for sequential information collection", SIAM
    Journal on Control and Optimization 2008; Snoek, Larochelle, Adams, "Practical Bayesian optimization of machine
    learning algorithms", NIPS 2012 (improvement per second); Maron, Moore, "Hoeffding races: accelerating model
    selection search for classification and function approximation", NIPS 1993; Jamieson, Talwalkar, "Non-stochastic
    best arm identification and hyperparameter optimization", AISTATS 2016, arXiv:1502.07943 (successive halving).
    """

    def __init__(
        self, candidates: Sequence[Candidate], store: Store, clock: Clock, promise: Mapping[str, float],
        progress: bool = True,
    ) -> None:  # fmt: skip
        self.store, self.clock = store, clock
        self.entries = [Entry(one, promise.get(one.encoder, 0.0)) for one in candidates]
        self.standings = Standings(self.entries, store, promise)
        self.interrupted = False
        self._progress, self._few = progress, self._trial_rows()

    def run(self) -> None:
        """Until the end; from the keyboard it can be stopped, and what is known stays."""
        self._bar = progress_bar(max(1, round(self.clock.budget)), 0, "s of the budget", show=self._progress)
        try:
            self._race()
        except KeyboardInterrupt:
            self.interrupted = True
            _LOG.warning("interrupted: what is known so far is reported.")
        finally:
            self._bar.close()
        self._recall()

    @property
    def sizes(self) -> list[int]:
        """Rows of each class in the episodes that were run, ascending."""
        return sorted({size for entry in self.entries for size in entry.parts})

    def racing(self) -> list[Entry]:
        """Those that are still in."""
        return [entry for entry in self.entries if entry.status == "in"]

    def joined(self, entry: Entry, size: int, folds: int | None = None) -> Result:
        """What a candidate answered in episodes of a size; in the first folds, or in all that it ran."""
        return self.standings.joined(entry, size, folds)

    def leader(self, size: int, folds: int | None = None) -> Entry | None:
        """The best in the first folds of a size, by default in as many as anybody ran; of equals the most promising."""
        ran = [entry for entry in self.entries if entry.parts.get(size)]
        most = max((len(entry.parts[size]) for entry in ran), default=0) if folds is None else folds
        full = [entry for entry in ran if len(entry.parts[size]) >= most]
        order = [(-self.joined(entry, size, most).mean, -entry.promise, self.predicted(entry, size)) for entry in full]
        return full[order.index(min(order))] if full else None

    def predicted(self, entry: Entry, size: int, fold: int = 0) -> float:
        """Seconds of a fold."""
        if entry.cost is None:
            return float("inf")
        train, test = self.store.folds.rows(fold, size)
        return entry.pace * entry.candidate.seconds(entry.cost, len(train), len(test), self.store.how)

    def seconds_for_all(self, entry: Entry) -> float | None:
        """Predicted time of learning from all rows."""
        if entry.cost is None:
            return None
        rows = len(self.store.folds.source)
        return entry.pace * entry.candidate.seconds(entry.cost, rows, 0, self.store.how)

    def _race(self) -> None:
        largest = self.store.folds.largest
        for entry in self.racing():
            if entry.candidate.anchor:
                self._measure(entry)
        self._cheap_folds(largest)
        size = self._first_size()
        while self.racing():
            self._cheap_folds(size)
            while (chosen := self._next(size)) is not None:
                self._fold(size, chosen)
                self._drop(size)
                if size < largest and self._settled(size):
                    break
            if size == largest or len(self.racing()) < 2 or not self._settled(size):
                break
            self._halve(size)
            size = min(2 * size, largest)
        for entry in self.racing():
            if not entry.parts:
                expected = self.standings.outlook(entry).mean
                entry.status = f"not tried: unlikely to lead, expected at about {100 * expected:.0f} %"

    def _recall(self) -> None:
        """Take what the file has and this run had no time to come to."""
        for entry in self.entries:
            tried = bool(entry.parts)
            for size in _halved_and_doubled(self.store.folds.largest):
                parts = entry.parts.get(size, [])
                while len(parts) < self.store.folds.count:
                    known = self.store.known(entry.candidate, size, len(parts))
                    if known is None:
                        break
                    parts.append(known)
                    entry.parts[size] = parts
            if entry.parts and not tried:
                size = max(entry.parts)
                open_ = self.interrupted or len(entry.parts[size]) == self.store.folds.count
                entry.status = "in" if open_ else f"stopped: no time for another fold of {size} rows a class"

    def _next(self, size: int) -> Entry | None:
        """Whose next fold is worth most for the time it takes; None where nobody has a fold left, or time for one."""
        open_ = [entry for entry in self.racing() if len(entry.parts.get(size, [])) < self.store.folds.count]
        for entry in open_:  # what a file has costs nothing
            if self.store.known(entry.candidate, size, len(entry.parts.get(size, []))) is not None:
                return entry
        if size < self.store.folds.largest:  # enough of each, and then larger episodes
            open_ = [entry for entry in open_ if self.standings.answered(entry, size) < _ENOUGH]
        while open_:
            worth = {id(entry): self.standings.value(entry, size) for entry in open_}
            open_ = [entry for entry in open_ if entry.parts or worth[id(entry)] >= _WORTH]
            if not open_:
                return None
            rates = [worth[id(entry)] / max(self._guess(entry, size), 1e-3) for entry in open_]
            entry = open_[rates.index(max(rates))]
            if entry.cost is None:
                self._measure(entry)
            elif self.predicted(entry, size, len(entry.parts.get(size, []))) <= self.clock.left:
                return entry
            else:
                entry.status = (
                    f"stopped: no time for another fold of {size} rows a class" if entry.parts
                    else f"no time left: a fold of {size} rows a class takes about {self.predicted(entry, size):.0f} s"
                )  # fmt: skip
            if entry.status != "in":
                open_.remove(entry)
        return None

    def _guess(self, entry: Entry, size: int) -> float:
        """Seconds of a fold; of one that is not measured, those of the dearest that is measured of its encoder."""
        if entry.cost is not None:
            return self.predicted(entry, size)
        own = entry.candidate.encoder
        return max((self.predicted(one, size) for one in self.entries
                    if one.cost is not None and one.candidate.encoder == own), default=0.0)  # fmt: skip

    def _measure(self, entry: Entry) -> None:
        self._show(f"measuring {entry.candidate.name}")
        if self.clock.left <= 0:
            entry.status = "not tried: no time to measure its cost"
            return
        if not any(one.cost is not None and one.candidate.anchor == entry.candidate.anchor for one in self.entries):
            with suppress(*_FAULTS):  # modules are imported and memory is claimed once: no part of any cost
                entry.candidate.measure(self._few, self.store.how)
        try:
            entry.cost = entry.candidate.measure(self._few, self.store.how)
        except _FAULTS as error:
            entry.status = f"not possible: {error}"

    def _trial_rows(self) -> object:
        source = self.store.folds.source
        train, _ = self.store.folds.rows(0, self.store.folds.largest)
        first = _some_of_each_class(source.labels[train], max(_TRIAL_ROWS, len(source.class_names)))
        return source.select(train[first])

    def _cheap_folds(self, size: int) -> None:
        cheap = [entry for entry in self.racing() if self._cheap(entry, size)]
        for fold in range(self.store.folds.count):
            for entry in cheap:
                left = self.clock.left > 0 or self.store.known(entry.candidate, size, fold) is not None
                if entry.status == "in" and left and len(entry.parts.get(size, [])) == fold:
                    self._fold(size, entry)

    def _fold(self, size: int, entry: Entry) -> None:
        """Its next fold."""
        fold = len(entry.parts.get(size, []))
        known = self.store.known(entry.candidate, size, fold)
        expected = self.predicted(entry, size, fold)
        self._show(f"{entry.candidate.name}, {size} a class, fold {fold + 1}")
        try:
            part = self.store.run(entry.candidate, size, fold)
        except _FAULTS as error:
            entry.status = f"failed: {error}"
            return
        entry.parts.setdefault(size, []).append(part)
        if known is None and entry.cost is not None and expected > 0:
            entry.pace *= min(10.0, max(0.1, part.seconds / expected))

    def _drop(self, size: int) -> None:
        """Who is clearly worse than the leader on the rows that both answered."""
        ran = self._ordered([entry for entry in self.entries if entry.parts.get(size)])
        leader = ran[0] if ran else None
        for entry in self.racing():
            if leader is None or entry is leader or entry not in ran or entry.candidate.anchor:
                continue
            folds = min(len(one.parts[size]) for one in (leader, entry))
            found = compare(self.joined(leader, size, folds), self.joined(entry, size, folds))
            if found.episodes >= _FEWEST and found.difference - found.ci95 > 0:
                entry.status = f"clearly worse than the best after {found.episodes} rows"

    def _settled(self, size: int) -> bool:
        """Whether all that may lead have answered enough, and the best two can each finish a fold of twice the size."""
        begun = [entry for entry in self.racing() if entry.parts or self.standings.value(entry, size) >= _WORTH]
        twice = min(2 * size, self.store.folds.largest)
        costly = [entry for entry in self._ordered(begun) if not self._cheap(entry, twice)]
        enough = all(self.standings.answered(entry, size) >= _ENOUGH for entry in begun)
        return enough and sum(self.predicted(entry, twice) for entry in costly[:2]) <= self.clock.left

    def _halve(self, size: int) -> None:
        costly = [entry for entry in self._ordered(self.racing()) if entry.parts and not self._cheap(entry, size)]
        for entry in costly[(len(costly) + 1) // 2 :]:
            entry.status = f"not among the better half at {size} rows a class"

    def _ordered(self, entries: Sequence[Entry]) -> list[Entry]:
        return sorted(entries, key=lambda entry: self.standings.outlook(entry).mean, reverse=True)

    def _cheap(self, entry: Entry, size: int) -> bool:
        return self.predicted(entry, size) <= _CHEAP * self.clock.budget

    def _first_size(self) -> int:
        """The largest size at which a fold of the costly candidate worth most for its time is a share of the time left.

        The most valuable candidate of each encoder is measured for that.
        """
        largest = self.store.folds.largest
        found: dict[str, tuple[float, Entry]] = {}
        costly = [(self.standings.value(entry, largest), entry) for entry in self.racing()
                  if not self._cheap(entry, largest)]  # fmt: skip
        for worth, entry in sorted(costly, key=lambda one: -one[0]):
            if worth < _WORTH or entry.candidate.encoder in found:
                continue
            if entry.cost is None:
                self._measure(entry)
            if entry.status == "in" and not self._cheap(entry, largest):
                found[entry.candidate.encoder] = worth / self.predicted(entry, largest), entry
        size = largest
        if found:
            _, first = max(found.values(), key=lambda one: one[0])
            while size > _LEAST_SIZE and self.predicted(first, size) > _FIRST * self.clock.left:
                size = max(_LEAST_SIZE, (size + 1) // 2)
        return size

    def _show(self, text: str) -> None:
        self._bar.set_postfix_str(text)
        self._bar.update(min(self._bar.total, round(self.clock.spent)) - self._bar.n)


def _halved_and_doubled(largest: int) -> list[int]:
    """Sizes that episodes may have had in an earlier run: halved to begin with, and doubled from there."""
    first = [largest]
    while first[-1] > _LEAST_SIZE:
        first.append(max(_LEAST_SIZE, (first[-1] + 1) // 2))
    found = set(first)
    for size in first:
        while size < largest:
            size = min(2 * size, largest)
            found.add(size)
    return sorted(found)


def _some_of_each_class(labels: torch.Tensor, count: int) -> torch.Tensor:
    """The first `count` rows when classes take turns ``[m]``, so that none is missing."""
    order = labels.argsort(stable=True)
    counts = labels.bincount()
    first = counts.cumsum(0) - counts
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(labels)) - first[labels[order]]
    return rank.argsort(stable=True)[:count].sort().values
