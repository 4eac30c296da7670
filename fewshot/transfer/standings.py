"""`Standings`: what the candidates of a race answered so far, and what is expected of each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from episodes.result import Result
from fewshot.transfer.folds import Store
from fewshot.transfer.outlook import Outlook, seen
from fewshot.transfer.race_entry import Entry


class Standings:
    """Results by candidate, size and fold, and outlooks.

    What is expected of a candidate is its prior (`Candidate.outlook`: what its kind gained elsewhere over logistic
    regression on the same features), updated by the paired difference from a reference on the held-out rows that both
    answered. The reference is the best of the frozen encoders, which cost next to nothing and so answer all rows. Few
    rows change little: of options that they cannot tell apart the one leads whose kind led elsewhere.

    Args:
        entries: of the race, which fills in their parts.
        store: of the results.
        promise: accuracy on left-out rows of a simple classifier by encoder, where no frozen one answered for it.
    """

    def __init__(self, entries: Sequence[Entry], store: Store, promise: Mapping[str, float]) -> None:
        self.entries, self.store, self._promise = entries, store, promise
        source = store.folds.source
        self._rows = len(source)
        self._each = len(source) / len(source.class_names)

    def joined(self, entry: Entry, size: int, folds: int | None = None) -> Result:
        """What a candidate answered in episodes of a size; in the first folds, or in all that it ran."""
        return self.store.joined(entry.candidate, size, entry.parts[size][:folds])

    def mean(self, entry: Entry) -> float | None:
        """Accuracy in the largest episodes that it ran; None before that."""
        return None if entry.size is None else self.joined(entry, entry.size).mean

    def answered(self, entry: Entry, size: int) -> int:
        """Held-out rows."""
        return sum(part.episodes for part in entry.parts.get(size, []))

    def reference(self, size: int) -> Entry | None:
        """What the others are compared with at a size: of those with most folds, frozen ones first, the best."""
        ran = [entry for entry in self.entries if entry.parts.get(size)]
        order = [(entry.candidate.anchor, len(entry.parts[size]), self.joined(entry, size).mean) for entry in ran]
        return ran[order.index(max(order))] if ran else None

    def outlook(self, entry: Entry) -> Outlook:
        """Accuracy expected when it learns from all rows but one fold."""
        before = self._prior(entry)
        size = entry.size
        reference = None if size is None else self.reference(size)
        if size is None or reference is None:
            return before
        common = min(len(entry.parts[size]), len(reference.parts[size]))
        own, other = self.joined(entry, size, common).scores, self.joined(reference, size, common).scores
        difference, error = seen(own, other, math.log2(max(1.0, self.store.folds.largest / size)))
        return before.updated((self.mean(reference) or 0.0) + difference, error)

    def choice(self) -> Entry | None:
        """Whoever was tried and is expected to do best; of equals the most promising encoder's."""
        tried = [entry for entry in self.entries if entry.parts]
        order = [(self.outlook(entry).mean, entry.promise) for entry in tried]
        return tried[order.index(max(order))] if tried else None

    def value(self, entry: Entry, size: int) -> float:
        """Accuracy that its remaining folds are expected to add to the choice; see `Outlook.value`.

        What was never tried cannot be chosen, so of that the lead expected of it counts too.
        """
        others = [self.outlook(one).mean for one in self.entries if one is not entry and one.parts]
        if not others:
            return 1.0
        best, own = max(others), self.outlook(entry)
        lead = 0.0 if entry.parts else max(0.0, own.mean - best)
        return lead + own.value(best, self._rows - self.answered(entry, size))

    def _prior(self, entry: Entry) -> Outlook:
        frozen = [one for one in self.entries if one.candidate.anchor and one.candidate.encoder ==
                  entry.candidate.encoder]  # fmt: skip
        known = self.mean(frozen[0]) if frozen else None
        without = [self.mean(one) for one in self.entries if one.candidate.kind == "trivial" and one.parts]
        return entry.candidate.outlook(
            self._promise.get(entry.candidate.encoder) if known is None else known,
            max((mean for mean in without if mean is not None), default=None), self._each,
        )  # fmt: skip
