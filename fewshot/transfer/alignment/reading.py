"""From the arguments ``target=`` and ``alignment=`` to rows and a term, checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from episodes.source import StoredSource
from fewshot.encoders.encoder import Encoder
from fewshot.transfer.alignment import list_alignments, load_alignment
from fewshot.transfer.alignment.alignment import Alignment
from fewshot.transfer.alignment.target import TargetRows, read_target
from fewshot.transfer.strategies import LinearProbe, Strategy


def read_alignment(
    target: Any, alignment: str | Alignment | None, encoder: Encoder, source: StoredSource,
    phases: Sequence[Strategy], mixup: float,
) -> tuple[TargetRows, Alignment] | None:  # fmt: skip
    """Target rows and how features are made alike; None where there are none.

    Raises:
        ValueError: one without the other, rows that do not fit, or nothing that could be aligned.
    """
    if target is None and alignment is None:
        return None
    known = ", ".join(list_alignments())
    if target is None:
        raise ValueError(f"alignment={alignment!r} without target=; give unlabelled rows of the target.")
    if alignment is None:
        raise ValueError(f"target= without alignment=; choose one of {known}.")
    term = load_alignment(alignment)
    if all(isinstance(phase, LinearProbe) for phase in phases):
        raise ValueError(
            f"alignment={term!r} with 'linear-probe', which leaves features as they are; take a strategy that trains "
            "the network, or an adapter of features, such as 'coral | logistic' (fewshot.adaptation)."
        )
    if mixup:
        raise ValueError(
            f"mixup={mixup!r} with alignment={term!r}: mixed rows are of no domain; leave one of them out."
        )
    return read_target(target, encoder, source), term
