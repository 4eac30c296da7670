"""Why an example got its class: the margin, and the support rows most like it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, NamedTuple

import numpy as np


class Verdict(NamedTuple):
    """What every explanation begins with; see `Explanation`."""

    label: Any
    probability: float
    runner_up: Any
    margin: float
    rejected: bool


@dataclass(frozen=True)
class Neighbour:
    """A fitted example that resembles the query.

    Attributes:
        index: its place among the examples that were fitted, from 0.
        label: its class.
        similarity: cosine of the angle between its row and the query's, -1..1.
        item: the file that it was read from (or its text), or None.
    """

    index: int
    label: Any
    similarity: float
    item: str | None = None

    def __str__(self) -> str:
        return f"{self.item or f'row {self.index}'} ({self.label}, {self.similarity:.2f})"


@dataclass(frozen=True)
class Explanation:
    """One prediction and what speaks for it.

    Attributes:
        label: the most probable class (before any rejection).
        probability: of that class, 0..1.
        runner_up: the second most probable class, or None if there is one class only.
        margin: how much more probable the class is than the runner-up, 0..1.
        rejected: whether `predict` answers with the reject label instead.
        nearest: the most similar fitted examples, best first. They illustrate; how much the learner really
            makes of them depends on the learner.
    """

    label: Any
    probability: float
    runner_up: Any
    margin: float
    rejected: bool
    nearest: tuple[Neighbour, ...]

    def __str__(self) -> str:
        head = f"{self.label} {100 * self.probability:.1f} %"
        if self.runner_up is not None:
            head += f", before {self.runner_up} {100 * (self.probability - self.margin):.1f} %"
        return f"{head}{' (rejected)' if self.rejected else ''}; like {', '.join(map(str, self.nearest))}"

    def _repr_html_(self) -> str:
        """The sentence, as notebooks show it."""
        return f"<p>{escape(str(self))}</p>"


def verdicts(chance: np.ndarray, classes: np.ndarray, refused: np.ndarray | None) -> list[Verdict]:
    """The two most probable classes of each row.

    Args:
        chance: probabilities ``[n, C]``.
        classes: labels ``[C]``.
        refused: which rows are not answered ``[n]``; None: all are.
    """
    order = np.argsort(-chance, axis=1, kind="stable")  # [n, C]
    best = np.take_along_axis(chance, order, axis=1).tolist()
    labels, found = classes.tolist(), []
    for row, (ranks, values) in enumerate(zip(order.tolist(), best, strict=True)):
        runner_up, second = (labels[ranks[1]], values[1]) if len(ranks) > 1 else (None, 0.0)
        rejected = refused is not None and bool(refused[row])
        found.append(Verdict(labels[ranks[0]], values[0], runner_up, values[0] - second, rejected))
    return found


def neighbours_of(
    rows: np.ndarray, support: np.ndarray, answers: np.ndarray, names: Sequence[str | None], count: int
) -> list[tuple[Neighbour, ...]]:
    """The fitted examples most like each row, best first.

    Args:
        rows: ``[n, D]``.
        support: the examples ``[S, D]``.
        answers: their labels ``[S]``.
        names: what they were read from ``[S]``.
        count: how many for each row.
    """
    similarity, index = nearest(rows, support, count)
    labels = answers.tolist()
    return [
        tuple(Neighbour(place, labels[place], cosine, names[place]) for place, cosine in zip(*pair, strict=True))
        for pair in zip(index.tolist(), similarity.tolist(), strict=True)
    ]


def nearest(rows: np.ndarray, support: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The support rows of greatest cosine with each row: similarity and index ``[n, count]``, best first.

    >>> nearest(np.array([[2.0, 0.1]]), np.eye(2), count=1)[1].tolist()
    [[0]]
    """
    cosine = _unit(rows) @ _unit(support).T  # [n, S]
    index = np.argsort(-cosine, axis=1, kind="stable")[:, :count]
    return np.take_along_axis(cosine, index, axis=1), index


def _unit(rows: np.ndarray) -> np.ndarray:
    flat = rows.reshape(len(rows), -1)
    return flat / np.linalg.norm(flat, axis=1, keepdims=True).clip(min=np.finfo(flat.dtype).tiny)
