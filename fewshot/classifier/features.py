"""Whether X is features already, or items for an encoder."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from typing import Any

import numpy as np


def are_features(X: Any) -> bool:
    """Whether X is a table of numbers ``[n, D]``, or meant to be one: an array of up to two dimensions.

    Eight-bit arrays are pixels; arrays of more dimensions, files, pictures and texts are items.

    >>> are_features([[0.0, 1.0]]), are_features(["photo.jpg"]), are_features(np.zeros((2, 8, 8, 3)))
    (True, False, False)
    """
    if hasattr(X, "iloc"):  # a table or column of pandas
        kinds = list(X.dtypes) if hasattr(X, "columns") else [X.dtype]
        return all(getattr(kind, "kind", "O") in "biuf" for kind in kinds)
    if hasattr(X, "tocsr"):  # sparse, which the checks of features refuse in words
        return True
    if isinstance(X, np.ndarray) or hasattr(X, "__array__"):
        array = np.asarray(X)
        if array.dtype == object:
            return array.ndim == 2
        return array.ndim <= 2 and array.dtype.kind in "biufc" and array.dtype != np.uint8
    if isinstance(X, Sequence) and not isinstance(X, str | bytes) and len(X):
        first = X[0]
        if isinstance(first, np.ndarray):
            return first.ndim == 1 and first.dtype.kind in "biuf"
        return (
            isinstance(first, Sequence)
            and not isinstance(first, str | bytes)
            and len(first) > 0
            and isinstance(first[0], numbers.Number)
        )
    return False
