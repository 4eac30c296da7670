"""The tasks that a network is trained on: named, labelled rows of one kind, checked at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from episodes.source import tower_of
from fewshot.encoders.encoder import Encoder
from fewshot.transfer.labelled_rows import LabelledRows, read_rows

Tasks = Mapping[str, Any] | Sequence[tuple[str, Any]]


def read_tasks(tasks: Tasks, validation: Mapping[str, Any] | None, encoder: Encoder) -> dict[str, LabelledRows]:
    """Rows of each task for an encoder.

    Args:
        tasks: labelled rows by name, or pairs of name and rows.
        validation: held-out rows of tasks of these names, or None.
        encoder: of all of them.

    Raises:
        ValueError: fewer than two tasks, a name twice, rows of different kinds, or what `read_rows` refuses.
    """
    pairs = list(tasks.items()) if isinstance(tasks, Mapping) else [(name, source) for name, source in tasks]
    names = [name for name, _ in pairs]
    if len(pairs) < 2:
        raise ValueError(
            f"{len(pairs)} task{'' if pairs else 's'} ({', '.join(map(repr, names))}); give at least two as "
            "{name: rows}. One task is what fine_tune is for."
        )
    for name in names:
        if not isinstance(name, str) or not name.strip():
            raise ValueError(f"{name!r} names a task; it must be a text that is not empty.")
        if names.count(name) > 1:
            raise ValueError(f"two tasks are called {name!r}; give each a name of its own.")
    held_out = dict(validation or {})
    stray = [name for name in held_out if name not in names]
    if stray:
        raise ValueError(f"validation rows are of task {stray[0]!r}, which is not trained; there are {names}.")
    found = {name: read_rows(source, held_out.get(name), encoder) for name, source in pairs}
    kinds = {name: tower_of(rows.items) for name, rows in found.items()}
    if len(set(kinds.values())) > 1:
        listed = ", ".join(f"{name!r} {kind}" for name, kind in kinds.items())
        raise ValueError(
            f"tasks hold different kinds of rows: {listed}. One network takes one kind; train it on those."
        )
    return found


def same_shapes(examples: Mapping[str, Any]) -> None:
    """Refuse tasks whose rows cannot stand in one batch.

    Args:
        examples: some rows of each task, as the network takes them.

    Raises:
        ValueError: their shapes differ.
    """
    shapes = {name: list(rows.shape[1:]) for name, rows in examples.items() if isinstance(rows, Tensor)}
    (first, shape), *others = shapes.items() or [("", [])]
    for name, other in others:
        if other != shape:
            raise ValueError(
                f"rows of task {first!r} are {shape}, those of {name!r} {other}; one network takes one shape. Give the "
                "encoder a transform that makes all pictures of one size."
            )


class JoinedRows:
    """The rows of all tasks one after the other; row ``offsets[t] + m`` is row m of task t.

    Args:
        parts: rows of each task, which give batches by ``take(index, device)``.
        sizes: how many each has.
    """

    def __init__(self, parts: Sequence[Any], sizes: Sequence[int]) -> None:
        self.parts = list(parts)
        self.offsets = torch.tensor([0, *sizes]).cumsum(0)

    def take(self, index: Tensor, device: torch.device) -> Any:
        """Rows ``[B]``, in the order of their tasks -> what the network is given: ``[B, *x]``, or B strings."""
        taken = [
            part.take(index[inside] - first, device)
            for part, first, last in zip(self.parts, self.offsets, self.offsets[1:], strict=False)
            if (inside := (index >= first) & (index < last)).any()
        ]
        return torch.cat(taken) if isinstance(taken[0], Tensor) else [text for texts in taken for text in texts]
