"""A race of candidates within a budget: small cross-validated episodes first, larger ones for those that lead."""

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

_LOG = logging.getLogger("fewshot")
_FAULTS = (ValueError, FloatingPointError, RuntimeError)  # of one candidate; the others go on
_ENOUGH = 60  # rows answered before the better half goes on to larger episodes
_FEWEST = 20  # rows answered before a candidate is dropped as clearly worse
_LEAST_SIZE = 5  # rows of each class of the smallest episodes
_TRIALS, _FIRST = 0.25, 0.4  # shares of the time for trials of a step, and for the first fold of all
_CHEAP = 0.01  # of the budget: what costs no more is never dropped
_TRIAL_ROWS = 32
_BEHIND = 0.05  # accuracy of left-out rows by which an encoder lies behind the best so that it counts as twice as dear


class Race:
    """Candidates that answer the same folds of the user's rows, until the time is up or the folds are done.

    1. A short trial of each measures what a step costs; from this follows what a fold will. Nothing is started that is
       predicted to end after the budget.
    2. What costs next to nothing runs all folds. Then the others run one fold after the other, cheap and promising ones
       first, of the largest episodes of which a fold of all takes no more than 40 % of the time that is left. Who is
       clearly worse than the leader on the same rows (95 % interval of the paired difference, at least 20 rows) is
       dropped.
    3. When 60 rows are answered the better half of the costly ones goes on to episodes of twice the size, while the
       leader can finish one (successive halving); at the last size the folds that are left are run.

    Args:
        candidates: to be tried.
        store: of their results.
        clock: the budget.
        promise: by name of encoder, as of `Entry`.
        progress: show a bar.

    Attributes:
        entries: one for each candidate.
        sizes: of the episodes that were run, ascending.
        interrupted: whether it was stopped from the keyboard.

    References: Maron, Moore, "Hoeffding races: accelerating model selection search for classification and function
    approximation", NIPS 1993; Jamieson, Talwalkar, "Non-stochastic best arm identification and hyperparameter
    optimization", AISTATS 2016, arXiv:1502.07943 (successive halving).
    """

    def __init__(
        self, candidates: Sequence[Candidate], store: Store, clock: Clock, promise: Mapping[str, float],
        progress: bool = True,
    ) -> None:  # fmt: skip
        self.store, self.clock = store, clock
        self.entries = [Entry(one, promise.get(one.encoder, 0.0)) for one in candidates]
        self.sizes: list[int] = []
        self.interrupted = False
        self._progress = progress

    def run(self) -> None:
        """Until the end; from the keyboard it can be stopped, and what is known stays."""
        self._bar = progress_bar(max(1, round(self.clock.budget)), 0, "s of the budget", show=self._progress)
        try:
            self._measure()
            self._race()
        except KeyboardInterrupt:
            self.interrupted = True
            _LOG.warning("interrupted: what is known so far is reported.")
        finally:
            self._bar.close()

    def racing(self) -> list[Entry]:
        """Those that are still in."""
        return [entry for entry in self.entries if entry.status == "in"]

    def joined(self, entry: Entry, size: int, folds: int | None = None) -> Result:
        """What a candidate answered in episodes of a size; in the first folds, or in all that it ran."""
        return self.store.joined(entry.candidate, size, entry.parts[size][:folds])

    def leader(self, size: int, folds: int | None = None) -> Entry | None:
        """The best in the first folds of a size, by default in as many as anybody ran; of equals the most promising."""
        ran = [entry for entry in self.entries if entry.parts.get(size)]
        most = max((len(entry.parts[size]) for entry in ran), default=0) if folds is None else folds
        full = [entry for entry in ran if len(entry.parts[size]) >= most]
        order = [(-self.joined(entry, size, most).mean, -entry.promise, self.predicted(entry, size)) for entry in full]
        return full[order.index(min(order))] if full else None

    def best(self, size: int) -> Entry | None:
        """The leader of a size; or whoever ran fewer folds, and is clearly better than the leader in these."""
        leader = self.leader(size)
        if leader is None:
            return None
        found = leader
        for entry in self.entries:
            if entry.parts.get(size) and len(entry.parts[size]) < len(leader.parts[size]):
                ahead = compare(self.joined(entry, size), self.joined(leader, size))
                if ahead.difference - ahead.ci95 > 0 and ahead.episodes >= _FEWEST:
                    found = max(found, entry, key=lambda one: (one is not leader, self._standing(one)))
        return found

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

    def _measure(self) -> None:
        train, _ = self.store.folds.rows(0, self.store.folds.largest)
        source = self.store.folds.source
        first = _some_of_each_class(source.labels[train], max(_TRIAL_ROWS, len(source.class_names)))
        few = source.select(train[first])
        ordered = sorted(self.entries, key=lambda entry: (entry.candidate.strategy != "logistic", -entry.promise))
        with suppress(*_FAULTS):  # modules are imported and memory is claimed once: no part of any cost
            ordered[-1].candidate.measure(few, self.store.how)
        limit = self.clock.spent + _TRIALS * self.clock.left
        for entry in ordered:
            if self.clock.spent > limit:
                break  # results of these may still be known from a file
            self._show(f"measuring {entry.candidate.name}")
            try:
                entry.cost = entry.candidate.measure(few, self.store.how)
            except _FAULTS as error:
                entry.status = f"not possible: {error}"

    def _race(self) -> None:
        largest, size = self.store.folds.largest, self._first_size()
        while self.racing():
            self.sizes.append(size)
            for fold in range(self.store.folds.count):
                self._fold(size, fold, [entry for entry in self.racing() if self._cheap(entry, size)])
            for fold in range(self.store.folds.count):
                self._fold(size, fold, self.racing())
                self._drop(size, fold + 1)
                answered = min((self._answered(entry, size) for entry in self.racing()), default=0)
                if size < largest and answered >= _ENOUGH and self._affordable(min(2 * size, largest)):
                    break
                if len(self.racing()) < 2:
                    break
            else:
                return
            if len(self.racing()) < 2 or size == largest:
                return
            self._halve(size)
            size = min(2 * size, largest)

    def _fold(self, size: int, fold: int, who: Sequence[Entry]) -> None:
        """Those who have not run this fold and can end in time: cheap and promising ones first, later the leaders."""
        for entry in self._order(size, fold, who):
            known = self.store.known(entry.candidate, size, fold)
            expected = self.predicted(entry, size, fold)
            if known is None and expected > self.clock.left:
                entry.status = (
                    f"stopped: no time for another fold of {size} rows a class" if entry.parts
                    else "not tried: no time to measure its cost" if entry.cost is None
                    else f"no time left: a fold of {size} rows a class takes about {expected:.0f} s"
                )  # fmt: skip
                continue
            self._show(f"{entry.candidate.name}, {size} a class, fold {fold + 1}")
            try:
                part = self.store.run(entry.candidate, size, fold)
            except _FAULTS as error:
                entry.status = f"failed: {error}"
                continue
            entry.parts.setdefault(size, []).append(part)
            if known is None and entry.cost is not None and expected > 0:
                entry.pace *= min(10.0, max(0.1, part.seconds / expected))

    def _order(self, size: int, fold: int, who: Sequence[Entry]) -> list[Entry]:
        waiting = [entry for entry in who if len(entry.parts.get(size, [])) <= fold]
        best = max((entry.promise for entry in self.entries), default=0.0)

        def place(entry: Entry) -> tuple[float, float]:
            dear = self.predicted(entry, size) * (1 + (best - entry.promise) / _BEHIND)
            return (-self._standing(entry) if entry.parts else 0.0, dear)

        return sorted(waiting, key=place)

    def _standing(self, entry: Entry) -> float:
        """Its accuracy, at the largest size that it has run."""
        return self.joined(entry, entry.size).mean if entry.size is not None else 0.0

    def _drop(self, size: int, folds: int) -> None:
        leader = self.leader(size, folds)
        if leader is None:
            return
        best = self.joined(leader, size, folds)
        for entry in self.racing():
            if entry is leader or not entry.parts.get(size) or self._cheap(entry, size):
                continue
            found = compare(best, self.joined(entry, size, folds))
            if found.episodes >= _FEWEST and found.difference - found.ci95 > 0:
                entry.status = f"clearly worse than the best after {found.episodes} rows"

    def _halve(self, size: int) -> None:
        costly = [entry for entry in self.racing() if not self._cheap(entry, size)]
        costly.sort(key=self._standing, reverse=True)
        for entry in costly[(len(costly) + 1) // 2 :]:
            entry.status = f"not among the better half at {size} rows a class"

    def _cheap(self, entry: Entry, size: int) -> bool:
        return self.predicted(entry, size) <= _CHEAP * self.clock.budget

    def _answered(self, entry: Entry, size: int) -> int:
        return sum(part.episodes for part in entry.parts.get(size, []))

    def _affordable(self, size: int) -> bool:
        """Whether the leader and a rival can each finish a fold of that size."""
        rest = sorted(self.racing(), key=self._standing, reverse=True)
        costly = [entry for entry in rest if not self._cheap(entry, size)]
        return sum(self.predicted(entry, size) for entry in costly[:2]) <= self.clock.left

    def _first_size(self) -> int:
        """The largest size of which a fold of everybody is a share of what is left; halves of the largest."""
        size = self.store.folds.largest
        while size > _LEAST_SIZE:
            total = sum(self.predicted(entry, size) for entry in self.racing() if entry.cost is not None)
            if total <= _FIRST * self.clock.left:
                break
            size = max(_LEAST_SIZE, (size + 1) // 2)
        return size

    def _show(self, text: str) -> None:
        self._bar.set_postfix_str(text)
        self._bar.update(min(self._bar.total, round(self.clock.spent)) - self._bar.n)


def _some_of_each_class(labels: torch.Tensor, count: int) -> torch.Tensor:
    """The first `count` rows when classes take turns ``[m]``, so that none is missing."""
    order = labels.argsort(stable=True)
    counts = labels.bincount()
    first = counts.cumsum(0) - counts
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(labels)) - first[labels[order]]
    return rank.argsort(stable=True)[:count].sort().values
