"""What several references need: rows that count, unit vectors, class means."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Labels = NDArray[np.int64]


def known(support: Array, labels: Labels) -> tuple[Array, Labels]:
    """The rows that are no padding."""
    return support[labels >= 0].astype(np.float64), labels[labels >= 0]


def unit(rows: Array) -> Array:
    return rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12)


def softmax(rows: Array) -> Array:
    rows = np.exp(rows - rows.max(-1, keepdims=True))
    return rows / rows.sum(-1, keepdims=True)


def means(rows: Array, classes: Labels, way: int) -> dict[int, Array]:
    return {n: rows[classes == n].mean(0) for n in range(way) if (classes == n).any()}


def fill(values: dict[int, Array], way: int, count: int) -> Array:
    logits = np.full((count, way), -np.inf)
    for n, column in values.items():
        logits[:, n] = column
    return logits
