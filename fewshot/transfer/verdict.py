"""`NegativeTransfer`: the verdict on a transferred model, by paired tests on the rows that all answered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from episodes.comparison import Comparison, compare, format_p
from episodes.printable import printable
from episodes.result import Result
from episodes.statistics import episodes_needed, holm

_LEVEL = 0.05
_WORDS = {"scratch": "the same architecture from scratch", "trivial": "no network at all",
          "encoder": "another encoder"}  # fmt: skip


class NegativeTransferWarning(UserWarning):
    """The pretrained network does worse than what it is compared with."""


@dataclass(frozen=True)
class Rival:
    """What the transferred model was compared with.

    Attributes:
        kind: ``"scratch"``, ``"trivial"`` or ``"encoder"``.
        comparison: transferred minus rival, row by row, its p-value adjusted for the number of rivals.
        needed: held-out rows that would show the difference seen, where it is not shown; else None.
    """

    kind: str
    comparison: Comparison
    needed: int | None

    @property
    def hurts(self) -> bool:
        """Whether the transferred model is worse, and chance does not explain it."""
        return self.comparison.difference < 0 and self.comparison.p < _LEVEL

    @property
    def helps(self) -> bool:
        """Whether it is better, and chance does not explain it."""
        return self.comparison.difference > 0 and self.comparison.p < _LEVEL

    def __str__(self) -> str:
        how = "worse than" if self.hurts else "better than" if self.helps else "not told apart from"
        needed = "" if self.needed is None else f"; about {self.needed:,} held-out rows would show this difference"
        return f"{how} {_WORDS[self.kind]}: {written(self.comparison)}{needed}"


@dataclass(frozen=True)
class NegativeTransfer:
    """The verdict on a transferred model.

    Attributes:
        transferred: name of the model.
        rivals: what it was compared with.
    """

    transferred: str
    rivals: tuple[Rival, ...]

    @property
    def harmful(self) -> bool:
        """Whether it is worse than from scratch, or than no network at all."""
        return any(rival.hurts for rival in self.rivals if rival.kind != "encoder")

    @property
    def verdict(self) -> str:
        """``"no transfer"``, ``"transfer"`` (better than from scratch and than no network), or ``"undecided"``."""
        own = [rival for rival in self.rivals if rival.kind != "encoder"]
        if self.harmful:
            return "no transfer"
        return "transfer" if own and all(rival.helps for rival in own) else "undecided"

    @property
    def warning(self) -> str | None:
        """What is to be said where it does harm, in words; else None."""
        worse = [rival for rival in self.rivals if rival.hurts and rival.kind != "encoder"]
        if not worse:
            return None
        found = "; ".join(f"{_WORDS[rival.kind]} ({printable(rival.comparison.b)}) is "
                          f"{-100 * rival.comparison.difference:.0f} points better" for rival in worse)  # fmt: skip
        return (
            f"negative transfer: {found} than {printable(self.transferred)} on the same held-out rows, and chance does "
            "not explain it. The pretraining does not serve this task."
        )

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "transferred": self.transferred, "verdict": self.verdict, "warning": self.warning,
            "rivals": [{"kind": rival.kind, "hurts": rival.hurts, "helps": rival.helps, "needed": rival.needed,
                        **rival.comparison.to_json()} for rival in self.rivals],
        }  # fmt: skip

    def __str__(self) -> str:
        lines = [f"{printable(self.transferred)}: {self.verdict}", *(f"  {rival}" for rival in self.rivals)]
        return "\n".join([*lines, *([f"  Warning: {self.warning}"] if self.warning else [])])


def written(comparison: Comparison) -> str:
    """A comparison of rows in words: ``+12.0 ± 9.1 points (95 %, 50 paired rows), p = 0.012``."""
    half = f"{100 * comparison.ci95:.1f}" if np.isfinite(comparison.ci95) else "?"
    return (
        f"{100 * comparison.difference:+.1f} ± {half} points against {printable(comparison.b)} (95 %, "
        f"{comparison.episodes} paired rows), {format_p(comparison.p)}"
    )


def against(transferred: Result, rivals: Sequence[tuple[str, Result]]) -> NegativeTransfer:
    """Compare a model with its rivals on rows that all have answered.

    Args:
        transferred: scores of each row, 1 or 0.
        rivals: kind and scores of each.
    """
    found = [compare(transferred, rival) for _, rival in rivals]
    adjusted = holm([one.p_value for one in found]).tolist() if found else []
    made = []
    for (kind, rival), one, p in zip(rivals, found, adjusted, strict=True):
        paired = transferred.scores[: one.episodes] - rival.scores[: one.episodes]
        clear = p < _LEVEL or one.difference == 0 or one.episodes < 2 or not paired.std()
        needed = None if clear else max(one.episodes, episodes_needed(paired, one.difference))
        made.append(Rival(kind, replace(one, p_adjusted=p), needed))
    return NegativeTransfer(transferred.learner, tuple(made))
