"""Why a row got a class that is named in words: the sentences that speak for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Sentence:
    """A prompt of the class that was answered.

    Attributes:
        text: the very string that was encoded.
        weight: its share in the class vector, 0..1.
        score: its cosine with the row.
    """

    text: str
    weight: float
    score: float


@dataclass(frozen=True)
class ZeroShotExplanation:
    """One prediction and the sentences that speak for it, heaviest first."""

    label: Any
    probability: float
    runner_up: Any
    margin: float
    rejected: bool
    sentences: tuple[Sentence, ...]

    def __str__(self) -> str:
        lines = [f"{self.label} {100 * self.probability:.1f} %{' (rejected)' if self.rejected else ''}"]
        if self.runner_up is not None:
            lines[0] += f", before {self.runner_up} {100 * (self.probability - self.margin):.1f} %"
        return "\n".join([*lines, *(f"  {100 * s.weight:4.1f} %  {s.score:.3f}  {s.text}" for s in self.sentences)])
