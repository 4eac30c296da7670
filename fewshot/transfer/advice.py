"""`Advice`: what was found, what to do, and why, in words."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from episodes.comparison import Comparison
from episodes.printable import printable, spreadsheet_cell
from episodes.result import Result
from episodes.results import Results
from fewshot.transfer.advice_tables import options_table, scores_table
from fewshot.transfer.encoder_scores import EncoderScores
from fewshot.transfer.verdict import NegativeTransfer


@dataclass(frozen=True)
class Option:
    """One encoder with one strategy, as the race left it.

    Attributes:
        encoder: name.
        strategy: of `fine_tune`, or ``"logistic"`` on frozen features.
        kind: ``"transfer"``, ``"scratch"`` or ``"trivial"``.
        result: what it answered in the largest episodes that it ran; None where it was not tried.
        size: rows of each class that these learned from, at most.
        expected: accuracy when it learns from all rows but one fold: by what it answered and, as far as these rows
            cannot tell, by what strategies like it gained elsewhere. None where it was not tried.
        comparison: this option minus the choice, on the rows that both answered; None for the choice itself, and where
            there are no such rows.
        trained: numbers that train; None where that is not known.
        seconds: predicted for learning from all rows; None where that is not known.
        status: ``"in"``, or why it left the race.
        code: how to do it.
    """

    encoder: str
    strategy: str
    kind: str
    result: Result | None
    size: int | None
    expected: float | None
    comparison: Comparison | None
    trained: int | None
    seconds: float | None
    status: str
    code: str

    @property
    def name(self) -> str:
        """Both."""
        return f"{self.encoder}, {self.strategy}"

    @property
    def accuracy(self) -> float | None:
        """Share of held-out rows answered right."""
        return None if self.result is None else self.result.mean

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        half = None if self.result is None or not np.isfinite(self.result.ci95) else self.result.ci95
        return {
            "encoder": self.encoder, "strategy": self.strategy, "kind": self.kind, "accuracy": self.accuracy,
            "ci95": half, "rows": None if self.result is None else self.result.episodes, "size": self.size,
            "expected": self.expected,
            "difference": None if self.comparison is None else self.comparison.to_json(), "trained": self.trained,
            "seconds": self.seconds, "status": self.status, "code": self.code,
        }  # fmt: skip


@dataclass(frozen=True)
class Advice:
    """The ranking of what was tried, the evidence, the choice and its reasons; ``print(advice)`` says it in words.

    Attributes:
        dataset: name.
        rows: labelled rows M.
        classes: C.
        folds: of the cross-validation.
        options: best first; those that were not tried come last.
        scores: of each encoder, before anything was trained.
        choice: what to do; None where nothing could be told apart from anything.
        reasons: why, in sentences.
        limits: what so few rows or so little time cannot tell, in sentences.
        transfer: the paired tests of the best transferred model; None where there was none, or nothing to compare.
        minutes: the budget.
        seconds: spent.
        interrupted: whether it was stopped from the keyboard.
    """

    dataset: str
    rows: int
    classes: int
    folds: int
    options: tuple[Option, ...]
    scores: tuple[EncoderScores, ...]
    choice: Option | None
    reasons: tuple[str, ...]
    limits: tuple[str, ...]
    transfer: NegativeTransfer | None
    minutes: float
    seconds: float
    interrupted: bool = False
    results: Results = field(default_factory=Results, repr=False)

    @property
    def verdict(self) -> str:
        """``"transfer"``, ``"no transfer"`` or ``"undecided"``."""
        return "undecided" if self.transfer is None else self.transfer.verdict

    @property
    def warning(self) -> str | None:
        """Of negative transfer, in words; None where there is none."""
        return None if self.transfer is None else self.transfer.warning

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON values."""
        return {
            "dataset": self.dataset, "rows": self.rows, "classes": self.classes, "folds": self.folds,
            "minutes": self.minutes, "seconds": round(self.seconds, 2), "interrupted": self.interrupted,
            "choice": None if self.choice is None else self.choice.to_dict(), "verdict": self.verdict,
            "warning": self.warning, "reasons": list(self.reasons), "limits": list(self.limits),
            "options": [option.to_dict() for option in self.options],
            "scores": [one.to_dict() for one in self.scores],
            "transfer": None if self.transfer is None else self.transfer.to_dict(),
        }  # fmt: skip

    def to_csv(self) -> str:
        """The ranking as comma-separated values."""
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(["rank", "encoder", "strategy", "expected", "accuracy", "ci95", "rows", "rows_a_class",
                         "difference", "difference_ci95", "trained", "seconds", "status"])  # fmt: skip
        for rank, option in enumerate(self.options, 1):
            own, paired = option.to_dict(), option.comparison
            writer.writerow([
                rank, spreadsheet_cell(option.encoder), spreadsheet_cell(option.strategy), own["expected"],
                own["accuracy"], own["ci95"], own["rows"], option.size, None if paired is None else paired.difference,
                None if paired is None else paired.ci95, option.trained, option.seconds, option.status,
            ])  # fmt: skip
        return buffer.getvalue()

    def __repr__(self) -> str:
        chosen = "none" if self.choice is None else f"{self.choice.encoder!r}, {self.choice.strategy!r}"
        return f"Advice({self.dataset!r}, {self.rows} rows, choice: {chosen}, {self.verdict})"

    def __str__(self) -> str:
        title = (
            f"{printable(self.dataset)}: {self.rows:,} rows of {self.classes} classes; {self.folds} folds; "
            f"{self.seconds / 60:.1f} of {self.minutes:g} minutes"
        )
        parts = [title + (", interrupted" if self.interrupted else "")]
        if self.scores:
            parts.append("Before training\n" + scores_table(self.scores))
        if any(option.result is not None for option in self.options):
            parts.append("Tried on held-out rows\n" + options_table(self.options))
        if self.choice is not None:
            parts.append(f"Choice: {printable(self.choice.name)}\n  {self.choice.code}")
        if self.reasons:
            parts.append("\n".join(["Why", *(f"- {reason}" for reason in self.reasons)]))
        if self.transfer is not None:
            parts.append(f"Does pretraining help? {self.transfer}")
        if self.limits:
            parts.append("\n".join(["What this cannot tell", *(f"- {limit}" for limit in self.limits)]))
        return "\n\n".join(parts)
