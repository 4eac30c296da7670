"""The tables of an advice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from episodes.printable import printable
from fewshot.transfer.encoder_scores import EncoderScores

if TYPE_CHECKING:
    from fewshot.transfer.advice import Option


def duration(seconds: float | None) -> str:
    """``0.1 s``, ``12 s``, ``3.5 min``; ``?`` where unknown."""
    if seconds is None or not np.isfinite(seconds):
        return "?"
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.1f} min"


def options_table(options: tuple[Option, ...]) -> str:
    """The ranking."""
    head = ["", "encoder", "strategy", "expected", "accuracy", "rows", "a class", "against the choice", "trained",
            "takes", ""]  # fmt: skip
    body = []
    for rank, option in enumerate(options, 1):
        trained = "?" if option.trained is None else f"{option.trained:,}"
        end = [trained, duration(option.seconds), "" if option.status == "in" else printable(option.status)]
        first = [str(rank), printable(option.encoder), printable(option.strategy)]
        if option.result is None:
            body.append([*first, "-", "-", "-", "-", "-", *end])
            continue
        paired = "" if option.comparison is None else option.comparison.written()
        shown = [_percent(option.expected), option.result.written(), str(option.result.episodes), str(option.size)]
        body.append([*first, *shown, paired, *end])
    return _table(head, body, right=(3, 4, 5, 6, 7, 8, 9))


def scores_table(scores: tuple[EncoderScores, ...]) -> str:
    """Scores before training; columns that no candidate has are left out."""
    head = ["encoder", "features", "LogME", "LEEP", "NCE", "H-score", "mean", "ridge", "purity", "A-distance", "MMD"]
    body = [
        [printable(one.encoder), f"{one.width:,}", *(_number(value) for value in (one.logme, one.leep, one.nce,
         one.h_score)), *(_percent(value) for value in (one.mean_left_out, one.ridge_left_out, one.purity)),
         _number(one.a_distance), _number(one.mmd)]
        for one in scores
    ]  # fmt: skip
    keep = [column for column in range(len(head)) if column < 3 or any(row[column] != "-" for row in body)]
    table = _table([head[c] for c in keep], [[row[c] for c in keep] for row in body], right=range(1, len(head)))
    lines = [table]
    for one in scores:
        if one.cka:
            stages = "  ".join(f"{printable(name)} {value:.2f}" for name, value in one.cka.items())
            lines.append(f"likeness (CKA) of stages and labels, {printable(one.encoder)}: {stages}")
    return "\n".join(lines)


def _table(head: list[str], body: list[list[str]], right: Any) -> str:
    widths = [max(len(row[column]) for row in [head, *body]) for column in range(len(head))]
    lines = [
        "  ".join(text.rjust(width) if column in right else text.ljust(width)
                  for column, (text, width) in enumerate(zip(row, widths, strict=True))).rstrip()
        for row in [head, *body]
    ]  # fmt: skip
    return "\n".join(lines)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"
