"""What a race keeps: its clock, and what is known of each candidate."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from episodes.result import Result
from fewshot.transfer.candidate import Candidate, Cost


class Clock:
    """A budget of seconds.

    Args:
        minutes: from now on.
    """

    def __init__(self, minutes: float) -> None:
        self.budget, self._began = 60 * minutes, time.perf_counter()

    @property
    def spent(self) -> float:
        """Seconds so far."""
        return time.perf_counter() - self._began

    @property
    def left(self) -> float:
        """Seconds that remain."""
        return self.budget - self.spent


@dataclass
class Entry:
    """A candidate in the race.

    Attributes:
        candidate: what it is.
        promise: share of left-out rows that a simple classifier gets right on its encoder's features.
        cost: measured by a trial; None where there was no time, or it cannot be had.
        status: ``"in"``, or why it is out, in words.
        parts: results by size and fold.
        pace: seconds needed per second predicted, as far as is known.
    """

    candidate: Candidate
    promise: float = 0.0
    cost: Cost | None = None
    status: str = "in"
    parts: dict[int, list[Result]] = field(default_factory=dict)
    pace: float = 1.0

    @property
    def size(self) -> int | None:
        """Of the largest episodes that it finished."""
        return max(self.parts, default=None)
